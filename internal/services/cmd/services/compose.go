//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// composed are the names in compose.yml, and the ports inside the containers.
var composed = map[services.Kind]struct {
	service string
	port    int
}{
	services.PostgreSQL: {"postgres", 5432},
	services.RabbitMQ:   {"rabbitmq", 5672},
}

// composeAnswersWithin bounds the questions of findCompose: a client may wait long for an engine that is away.
const composeAnswersWithin = 10 * time.Second

// compose is the project of a compose.yml whose Docker engine answers. nil has no service.
type compose struct {
	dir       string
	published map[services.Kind][]int // ports on this machine
}

// findCompose returns the working folder's project; nil without a compose.yml, an engine or the plugin.
func findCompose(ctx context.Context) (*compose, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "compose.yml")); err != nil {
		return nil, nil //nolint:nilnil,nilerr // no project is an answer
	}
	ctx, cancel := context.WithTimeout(ctx, composeAnswersWithin)
	defer cancel()
	// The client exits with 0 on some versions although no engine answers: ask for the engine's own version.
	if v, err := output(ctx, "docker", "info", "--format", "{{.ServerVersion}}"); err != nil || v == "" {
		return nil, nil //nolint:nilnil,nilerr // likewise
	}
	if _, err := output(ctx, "docker", "compose", "version"); err != nil {
		return nil, nil //nolint:nilnil,nilerr // likewise
	}
	c := &compose{dir: dir}
	config, err := c.run(ctx, "config", "--format", "json")
	if err != nil {
		return nil, err
	}
	if c.published, err = publishedPorts([]byte(config)); err != nil {
		return nil, fmt.Errorf("read the ports of compose.yml: %w", err)
	}
	return c, nil
}

// publishedPorts reads them from the project as Compose resolved it, with what overrides compose.yml.
func publishedPorts(config []byte) (map[services.Kind][]int, error) {
	var project struct {
		Services map[string]struct {
			Ports []struct {
				Target    int    `json:"target"`
				Published string `json:"published"` // "": the engine picks one
			} `json:"ports"`
		} `json:"services"`
	}
	if err := json.Unmarshal(config, &project); err != nil {
		return nil, err
	}
	published := map[services.Kind][]int{}
	for kind, inside := range composed {
		for _, p := range project.Services[inside.service].Ports {
			if n, err := strconv.Atoi(p.Published); err == nil && p.Target == inside.port {
				published[kind] = append(published[kind], n)
			}
		}
	}
	return published, nil
}

// serves tells whether compose.yml has a server for the address that the setting names.
func (c *compose) serves(t target) bool {
	if c == nil || !t.loopback() {
		return false
	}
	return slices.Contains(c.published[t.kind], t.port)
}

// runs tells whether the server at that address is the project's container.
func (c *compose) runs(ctx context.Context, t target) bool {
	if !c.serves(t) {
		return false
	}
	id, err := c.run(ctx, "ps", "--quiet", "--status", "running", composed[t.kind].service)
	return err == nil && id != ""
}

// up starts services and waits until they are healthy. What it starts is noted before, so that down finds half a start.
func (c *compose) up(ctx context.Context, out io.Writer, st *state, at places, kinds []services.Kind) error {
	args := []string{"up", "--detach", "--wait"}
	for _, kind := range kinds {
		name := composed[kind].service
		fmt.Fprintf(out, "%s: starting %s of compose.yml; the first time, Docker fetches its image\n", kind, name)
		args = append(args, name)
		st.add(c.dir, name)
	}
	if err := st.save(at.state); err != nil {
		return err
	}
	if _, err := c.run(ctx, args...); err != nil {
		return fmt.Errorf("start containers of compose.yml: %w", err)
	}
	return nil
}

// psql runs statements inside the container, where the image lets its superuser in without a password.
func (c *compose) psql(ctx context.Context, statement string) (string, error) {
	return c.run(ctx, "exec", "-T", composed[services.PostgreSQL].service, "sh", "-c",
		`exec psql -X -q -A -t -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres -c "$1"`, "psql", statement)
}

func (c *compose) rabbitmqctl(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, append([]string{"exec", "-T", composed[services.RabbitMQ].service, "rabbitmqctl"}, args...)...)
}

func (c *compose) run(ctx context.Context, args ...string) (string, error) {
	return runCompose(ctx, c.dir, args...)
}

// runCompose keeps the progress of each container out of an error's text.
func runCompose(ctx context.Context, dir string, args ...string) (string, error) {
	return output(ctx, "docker", append([]string{"compose", "--project-directory", dir, "--progress", "quiet"}, args...)...)
}
