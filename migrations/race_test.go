package migrations_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/migrations"
)

// childEnv holds the database's URL and makes the test binary a process that migrates it.
const childEnv = "GOCHAT_TEST_MIGRATE_URL"

// migrateAsChild says that it is ready, waits for the end of its input, and migrates.
func migrateAsChild(databaseURL string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := migrations.Postgres(databaseURL)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = m.Close() }()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	changes, err := m.Up(ctx)
	if err == nil {
		err = m.Check(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("applied", len(changes))
	return 0
}

// Five processes find the same fresh database at the same moment, as replicas that are rolled out together do.
func TestFiveProcessesMigrateOneFreshDatabase(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.Empty(t)
	type child struct {
		cmd    *exec.Cmd
		stdin  io.WriteCloser
		stdout *bufio.Scanner
		stderr bytes.Buffer
	}
	children := make([]*child, 5)
	for i := range children {
		c := &child{cmd: exec.CommandContext(t.Context(), os.Args[0])}
		c.cmd.Env = append(os.Environ(), childEnv+"="+databaseURL)
		c.cmd.Stderr = &c.stderr
		stdin, err := c.cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := c.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.stdin, c.stdout = stdin, bufio.NewScanner(stdout)
		if err := c.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		children[i] = c
	}
	for _, c := range children { // the start barrier
		if !c.stdout.Scan() || c.stdout.Text() != "ready" {
			t.Fatalf("child: %q, %s", c.stdout.Text(), c.stderr.String())
		}
	}
	for _, c := range children {
		_ = c.stdin.Close()
	}
	total := 0
	for i, c := range children {
		var applied int
		if c.stdout.Scan() {
			_, _ = fmt.Sscanf(c.stdout.Text(), "applied %d", &applied)
		}
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, c.stderr.String())
		}
		total += applied
	}
	m, err := migrations.Postgres(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	states, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if total != len(states) {
		t.Errorf("the processes applied %d migrations together, want each of the %d once", total, len(states))
	}
	if err := m.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func asUser(t *testing.T, databaseURL, user string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, user) // for servers that ask for one
	return u.String()
}
