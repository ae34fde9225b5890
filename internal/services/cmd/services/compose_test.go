//go:build unix

package main

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// projectConfig is what `docker compose config --format json` prints of these services (2.40), with a port that an
// override moves, and one that the engine is to pick.
const projectConfig = `{"name": "gochat", "services": {
	"postgres": {"image": "postgres:18", "ports": [
		{"mode": "ingress", "host_ip": "127.0.0.1", "target": 5432, "published": "5433", "protocol": "tcp"}]},
	"rabbitmq": {"image": "rabbitmq:4", "ports": [
		{"mode": "ingress", "host_ip": "127.0.0.1", "target": 15672, "published": "15672", "protocol": "tcp"},
		{"mode": "ingress", "host_ip": "127.0.0.1", "target": 5672, "published": "5672", "protocol": "tcp"},
		{"mode": "ingress", "target": 5672, "protocol": "tcp"}]},
	"persister": {"image": "gochat:dev"}}}`

func TestComposeServesOnlyAddressesThatItPublishes(t *testing.T) {
	t.Parallel()
	published, err := publishedPorts([]byte(projectConfig))
	if err != nil {
		t.Fatal(err)
	}
	want := map[services.Kind][]int{services.PostgreSQL: {5433}, services.RabbitMQ: {5672}}
	if diff := cmp.Diff(want, published); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	project := &compose{published: published}
	for _, step := range []struct {
		kind services.Kind
		url  string
		want bool
	}{
		{services.PostgreSQL, "postgres://a:b@localhost:5433/x", true},
		{services.PostgreSQL, "postgres://a:b@localhost:5432/x", false},
		{services.PostgreSQL, "postgres://a:b@db.example:5433/x", false},
		{services.RabbitMQ, "amqp://a:b@127.0.0.1:5672/x", true},
		{services.RabbitMQ, "amqp://a:b@127.0.0.1:15672/x", false},
	} {
		parse := rabbitTarget
		if step.kind == services.PostgreSQL {
			parse = postgresTarget
		}
		server, err := parse(step.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := project.serves(server); got != step.want {
			t.Errorf("%s: got %t, want %t", step.url, got, step.want)
		}
		if (*compose)(nil).serves(server) {
			t.Errorf("%s: served without a project", step.url)
		}
	}
}

// What up starts is noted once, and survives until down reads it.
func TestStateKeepsContainers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache", "services.json")
	var st state
	for _, name := range []string{"postgres", "rabbitmq", "postgres"} {
		st.add("/src/go-chat", name)
	}
	if err := st.save(path); err != nil {
		t.Fatal(err)
	}
	got, err := loadState(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(state{Compose: "/src/go-chat", Containers: []string{"postgres", "rabbitmq"}}, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}
