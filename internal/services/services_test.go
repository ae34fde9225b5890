//go:build unix

package services_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanEnv); dir != "" {
		os.Exit(startAndHang(dir))
	}
	goleak.VerifyTestMain(m)
}

// Data outlives a clean stop and kill -9, and not a wipe; the address stays the same throughout.
func TestPostgresLifeCycle(t *testing.T) {
	t.Parallel()
	srv := mustPostgres(t, t.TempDir(), services.Options{})
	url := srv.URL()
	query(t, url, "CREATE TABLE notes (id int)")
	query(t, url, "INSERT INTO notes VALUES (1)")
	for _, down := range []struct {
		name string
		call func() error
	}{
		{"stop", func() error { return srv.Stop(t.Context()) }},
		{"kill", srv.Kill},
	} {
		must(t, down.name, down.call())
		if conn, err := pgx.Connect(t.Context(), url); err == nil {
			_ = conn.Close(t.Context())
			t.Fatalf("after %s the server still answers", down.name)
		}
		must(t, "start after "+down.name, srv.Start(t.Context()))
		if got, want := query(t, url, "SELECT count(*)::text FROM notes"), "1"; got != want {
			t.Errorf("rows after %s: got %s, want %s", down.name, got, want)
		}
	}
	must(t, "wipe", srv.Wipe())
	must(t, "start after wipe", srv.Start(t.Context()))
	if got, want := query(t, url, "SELECT count(*)::text FROM pg_class WHERE relname = 'notes'"), "0"; got != want {
		t.Errorf("tables after a wipe: got %s, want %s", got, want)
	}
	if got, want := srv.URL(), url; got != want {
		t.Errorf("URL: got %s, want %s", got, want)
	}
}

func TestRabbitMQLifeCycle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv, err := services.StartRabbitMQ(t.Context(), dir, services.Options{})
	must(t, "start", err)
	t.Cleanup(func() { must(t, "kill", srv.Kill()) })
	publish(t, srv.URL(), "kept")
	// A clean stop first: RabbitMQ 3.10 may hold back the definition of a new queue for some seconds, and kill -9 then loses
	// the queue, with messages that were confirmed.
	must(t, "stop", srv.Stop(t.Context()))
	must(t, "start after stop", srv.Start(t.Context()))
	if got, want := depth(t, srv.URL(), "kept"), 1; got != want {
		t.Errorf("messages after a stop: got %d, want %d", got, want)
	}
	publish(t, srv.URL(), "kept")
	must(t, "kill", srv.Kill())
	must(t, "start after kill", srv.Start(t.Context()))
	if got, want := depth(t, srv.URL(), "kept"), 2; got != want {
		t.Errorf("messages after a kill: got %d, want %d", got, want)
	}
	must(t, "stop", srv.Stop(t.Context()))
	must(t, "wipe", srv.Wipe())
	must(t, "start after wipe", srv.Start(t.Context()))
	if got, want := depth(t, srv.URL(), "kept"), 0; got != want {
		t.Errorf("messages after a wipe: got %d, want %d", got, want)
	}
	must(t, "kill", srv.Kill())
	if left := processesWith(t, dir); len(left) > 0 {
		t.Errorf("processes left behind: %q", left)
	}
}

// A frozen server keeps its connections, answers nothing, and goes on where it was.
func TestPauseAndContinue(t *testing.T) {
	t.Parallel()
	srv := mustPostgres(t, t.TempDir(), services.Options{NoSync: true})
	conn, err := pgx.Connect(t.Context(), srv.URL())
	must(t, "connect", err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	must(t, "pause", srv.Pause())
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT 1")
		answered <- err
	}()
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	select {
	case err := <-answered:
		t.Errorf("a frozen server answered: %v", err)
	case <-short.Done():
	}
	must(t, "continue", srv.Continue())
	must(t, "query", <-answered)
	must(t, "ready", srv.Ready(t.Context()))
	must(t, "pause", srv.Pause())
	must(t, "stop while frozen", srv.Stop(t.Context()))
}

func TestStartTellsWhyItFailed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, "listen", err)
	defer l.Close()
	_, err = services.StartPostgres(t.Context(), t.TempDir(), services.Options{Port: l.Addr().(*net.TCPAddr).Port})
	if err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("start on a taken port: got %v", err)
	}
	_, err = services.StartPostgres(t.Context(), t.TempDir(), services.Options{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("start with a bad setting: got %v", err)
	}
}

func mustPostgres(tb testing.TB, dir string, opts services.Options) *services.Server {
	tb.Helper()
	srv, err := services.StartPostgres(tb.Context(), dir, opts)
	must(tb, "start", err)
	tb.Cleanup(func() {
		must(tb, "kill", srv.Kill())
		if left := processesWith(tb, dir); len(left) > 0 {
			tb.Errorf("processes left behind: %q", left)
		}
	})
	return srv
}

func must(tb testing.TB, what string, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%s: %v", what, err)
	}
}

func query(tb testing.TB, url, sql string) string {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	must(tb, "connect", err)
	defer conn.Close(context.WithoutCancel(tb.Context()))
	rows, err := conn.Query(tb.Context(), sql)
	must(tb, sql, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(tb, sql, err)
	return strings.Join(list, ",")
}

func channel(tb testing.TB, url string) *amqp.Channel {
	tb.Helper()
	conn, err := amqp.Dial(url)
	must(tb, "dial", err)
	tb.Cleanup(func() { _ = conn.Close() }) // the server may be gone by then
	ch, err := conn.Channel()
	must(tb, "channel", err)
	return ch
}

// publish puts one confirmed, persistent message into a durable queue.
func publish(tb testing.TB, url, queue string) {
	tb.Helper()
	ch := channel(tb, url)
	_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
	must(tb, "declare", err)
	must(tb, "confirm mode", ch.Confirm(false))
	sent, err := ch.PublishWithDeferredConfirmWithContext(tb.Context(), "", queue, false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
	must(tb, "publish", err)
	if ok, err := sent.WaitContext(tb.Context()); !ok || err != nil {
		tb.Fatalf("confirm: %v, %v", ok, err)
	}
}

func depth(tb testing.TB, url, queue string) int {
	tb.Helper()
	q, err := channel(tb, url).QueueDeclare(queue, true, false, false, false, nil)
	must(tb, "declare", err)
	return q.Messages
}

// orphanEnv names the folder for the test binary's second role: startAndHang.
const orphanEnv = "GOCHAT_SERVICES_ORPHAN_DIR"

// startAndHang starts a server, says so and waits to be killed: what TestNothingOutlivesItsStarter needs as a child.
func startAndHang(dir string) int {
	if _, err := services.StartPostgres(context.Background(), dir, services.Options{NoSync: true}); err != nil {
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
		return 1
	}
	_, _ = os.Stdout.WriteString("up\n")
	select {}
}

// processesWith lists the processes of this machine whose working folder is below dir.
func processesWith(tb testing.TB, dir string) []string {
	tb.Helper()
	var list []string
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	must(tb, "list processes", err)
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(cwd, dir) {
			continue // ended meanwhile, or somebody else's
		}
		name, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil && pid != os.Getpid() && len(name) > 0 {
			list = append(list, string(bytes.ReplaceAll(name, []byte{0}, []byte{' '})))
		}
	}
	return list
}

// eventually waits for what another process does; nothing here could signal it.
func eventually(tb testing.TB, done func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatal("not within 30 seconds")
		}
	}
}
