//go:build unix

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestURLsComeFromEnvironmentThenDotEnvThenExample(t *testing.T) {
	t.Chdir(t.TempDir())
	none := func(string) string { return "" }
	env := func(name string) string {
		return map[string]string{"DATABASE_URL": "postgres://env:p@db.example:1/one"}[name]
	}
	for _, step := range []struct {
		file, text string
		getenv     func(string) string
		want       string
	}{
		{"", "", none, "gochat@localhost:5432/gochat"},
		{".env.example", "DATABASE_URL=postgres://example:p@localhost:2/two\n", none, "example@localhost:2/two"},
		{".env", "DATABASE_URL=postgres://dotenv:p@localhost:3/three\n", none, "dotenv@localhost:3/three"},
		{"", "", env, "env@db.example:1/one"},
	} {
		if step.file != "" {
			if err := os.WriteFile(step.file, []byte(step.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		all, err := readTargets(step.getenv)
		if err != nil {
			t.Fatal(err)
		}
		p := all.postgres
		if got := p.user + "@" + p.address() + "/" + p.name; got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
		if got, want := all.rabbitmq.name, "gochat"; got != want {
			t.Errorf("virtual host: got %s, want %s", got, want)
		}
	}
}

func TestBadURLsAreNamedWithoutTheirPasswords(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := readTargets(func(name string) string {
		return map[string]string{"DATABASE_URL": "postgres://ann:hunter2@host:port/x", "RABBITMQ_URL": "amqp://ann:hunter2@host:port/x"}[name]
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, setting := range []string{"DATABASE_URL", "RABBITMQ_URL"} {
		if !strings.Contains(err.Error(), setting) {
			t.Errorf("%s is not named: %v", setting, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is told: %v", err)
	}
}

func TestRunPassesOnURLsAndExitCode(t *testing.T) {
	t.Parallel()
	var out, progress bytes.Buffer
	script := `echo "$GOCHAT_TEST_DATABASE_URL"; echo "$GOCHAT_TEST_RABBITMQ_URL"; exit 7`
	code := run(t.Context(), []string{"run", "--no-sync", "--", "sh", "-c", script}, os.Getenv, &out, &progress)
	if want := 7; code != want {
		t.Errorf("exit code: got %d, want %d; %s", code, want, progress.String())
	}
	lines := strings.Fields(out.String())
	if len(lines) != 2 {
		t.Fatalf("output: %q", out.String())
	}
	for i, scheme := range []string{"postgres://", "amqp://"} {
		if !strings.HasPrefix(lines[i], scheme) {
			t.Errorf("URL: got %q, want %s…", lines[i], scheme)
		}
	}
	pg, err := postgresTarget(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	if pg.listens(t.Context()) {
		t.Error("PostgreSQL is still there")
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"sideways"}, {"run"}, {"run", "--"}, {"up", "there"}} {
		var out, complaint bytes.Buffer
		if got, want := run(t.Context(), args, os.Getenv, &out, &complaint), 2; got != want {
			t.Errorf("%q: exit code: got %d, want %d", args, got, want)
		}
		if !strings.HasPrefix(complaint.String(), "usage: ") {
			t.Errorf("%q: got %q", args, complaint.String())
		}
	}
}

// up starts what does not listen, makes what the URLs name, and a second one finds it all; down ends its own servers.
func TestUpTwiceAndDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := places{state: filepath.Join(dir, "cache", "services.json"), data: filepath.Join(dir, "data")}
	pg, err1 := postgresTarget("postgres://ann:it%27s@127.0.0.1:" + freePort(t) + "/ann_db?sslmode=disable")
	mq, err2 := rabbitTarget("amqp://ann:secret@127.0.0.1:" + freePort(t) + "/ann")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	all := targets{pg, mq}
	t.Cleanup(func() {
		if err := down(context.WithoutCancel(t.Context()), &bytes.Buffer{}, at); err != nil {
			t.Log(err)
		}
	})
	first := mustUp(t, all, at)
	for _, want := range []string{"made role ann\n", "made database ann_db, owned by ann\n", `as user ann in "ann"`} {
		if !strings.Contains(first, want) {
			t.Errorf("first up does not say %q:\n%s", want, first)
		}
	}
	if second := mustUp(t, all, at); strings.Contains(second, "made") || strings.Contains(second, "started") {
		t.Errorf("second up did something again:\n%s", second)
	}
	var out bytes.Buffer
	if err := down(t.Context(), &out, at); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("stopped postgres\nstopped rabbitmq-server\nstopped epmd\n", out.String()); diff != "" {
		t.Errorf("down (-want +got):\n%s", diff)
	}
	for _, t2 := range []target{pg, mq} {
		if t2.listens(t.Context()) {
			t.Errorf("%s is still there", t2.kind)
		}
	}
}

func mustUp(tb testing.TB, all targets, at places) string {
	tb.Helper()
	var out bytes.Buffer
	if err := up(tb.Context(), &out, all, at); err != nil {
		tb.Fatalf("up: %v\n%s", err, out.String())
	}
	return out.String()
}

func freePort(tb testing.TB) string {
	tb.Helper()
	port, release, err := services.ReservePort()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(release)
	return strconv.Itoa(port)
}
