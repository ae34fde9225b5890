package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus/bustest/rabbit"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// installation is a database and a topology of a test's own.
type installation struct {
	t        *testing.T
	pool     *pgxpool.Pool
	flags    []string
	topology events.Topology
}

func newInstallation(t *testing.T) installation {
	t.Helper()
	pool, url := dbtest.Postgres(t)
	topology := rabbit.Topology(t)
	return installation{t: t, pool: pool, topology: topology, flags: []string{
		"--database-url", url, "--rabbitmq-url", rabbit.URL(t), "--rabbitmq-prefix", topology.Prefix,
	}}
}

// declare makes the topology, also where the test starts no service.
func (in installation) declare() {
	in.t.Helper()
	declareTopology(in.t, in.topology)
}

// start runs a service until the test ends.
func (in installation) start(name string, args ...string) {
	in.t.Helper()
	p := startProgram(in.t, append(append([]string{name}, args...), in.flags...)...)
	p.out.await(in.t, "listens on")
	in.t.Cleanup(func() {
		p.cancel()
		if err := p.wait(); err != nil {
			in.t.Errorf("%s: %v", name, err)
		}
	})
}

// accept accepts n messages in each room, and takes them for published: the broker lost them.
func (in installation) accept(s store.Store, ob outbox.Store, n int, rooms ...string) {
	in.t.Helper()
	for _, room := range rooms {
		var sends []store.Send
		for i := range n {
			sends = append(sends, store.Send{Sender: "ann", ID: fmt.Sprint(room, "-", i), Room: room, Text: "text", SentAt: time.Now().UTC()})
		}
		if _, err := s.Accept(in.t.Context(), sends); err != nil {
			in.t.Fatal(err)
		}
	}
	shards := make([]int, events.Shards)
	for i := range shards {
		shards[i] = i
	}
	for {
		rows, err := ob.Fetch(in.t.Context(), shards, 1000)
		if err != nil {
			in.t.Fatal(err)
		}
		if len(rows) == 0 {
			return
		}
		if err := ob.MarkPublished(in.t.Context(), rows); err != nil {
			in.t.Fatal(err)
		}
	}
}

func (in installation) reconcile(args ...string) (out, stderr string, err error) {
	in.t.Helper()
	return call(in.t, nil, append(append([]string{"reconcile"}, args...), in.flags...)...)
}

func (in installation) number(query string) (n int) {
	in.t.Helper()
	if err := in.pool.QueryRow(in.t.Context(), query).Scan(&n); err != nil {
		in.t.Fatal(err)
	}
	return n
}

func TestReconcileWithoutAChatRoom(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.declare()
	if out, _, err := in.reconcile(); err != nil || !strings.Contains(out, "everything that was accepted is stored") {
		t.Errorf("empty: got %q, %v", out, err)
	}
	in.accept(store.NewPostgres(in.pool), outbox.Postgres{Pool: in.pool}, 100, "a", "b", "c")
	out, _, err := in.reconcile("--dry-run")
	if err != nil || !strings.Contains(out, "300 events of 3 rooms accepted and not stored; 0 waited") {
		t.Errorf("dry: got %q, %v", out, err)
	}
	if n := in.number(`SELECT count(*) FROM chatroom.outbox WHERE published_at IS NULL`); n != 0 {
		t.Errorf("a dry run made %d rows wait", n)
	}
	// Published again, and nobody stores.
	_, stderr, err := in.reconcile("--wait", "5s")
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "0 of 300 rows after 5s; does a persister run") || !strings.Contains(stderr, "no chat room relays") {
		t.Errorf("without a persister: got %v, %q", err, stderr)
	}
	in.start("persister", "--listen", "127.0.0.1:0", "--admin-listen", "off")
	out, _, err = in.reconcile("--wait", "30s")
	if err != nil || !strings.Contains(out, "compared") {
		t.Fatalf("got %q, %v", out, err)
	}
	if n := in.number(`SELECT count(*) FROM persister.messages`); n != 300 {
		t.Errorf("%d stored, want 300", n)
	}
	if n := in.number(`SELECT count(*) FROM chatroom.outbox`); n != 0 {
		t.Errorf("%d rows are left in the outbox", n)
	}
	if n := in.number(`SELECT count(*) FROM chatroom.outbox_leases`); n != 0 {
		t.Errorf("%d leases are left", n)
	}
}

func TestReconcileWithAChatRoom(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.accept(store.NewPostgres(in.pool), outbox.Postgres{Pool: in.pool}, 100, "a", "b", "c")
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	history := lis.Addr().String()
	_ = lis.Close()
	in.start("persister", "--listen", history, "--admin-listen", "off")
	in.start("chatroom", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--history-addr", history, "--republish-after", "1h")
	rabbit.Eventually(t, "lease", func() bool {
		return in.number(`SELECT count(*) FROM chatroom.outbox_leases WHERE expires_at > now()`) > 0
	})
	out, stderr, err := in.reconcile("--wait", "30s")
	if err != nil || !strings.Contains(out, "published again 300, stored 300 of 300") || strings.Contains(stderr, "no chat room relays") {
		t.Errorf("got %q, %q, %v", out, stderr, err)
	}
	if n := in.number(`SELECT count(*) FROM persister.messages`); n != 300 {
		t.Errorf("%d stored, want 300", n)
	}
}

func TestReconcileNamesWhatIsLost(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.declare()
	in.accept(store.NewPostgres(in.pool), outbox.Postgres{Pool: in.pool}, 10, "a", "b")
	for _, sql := range []string{
		`DELETE FROM chatroom.outbox WHERE key = 'b' AND seq IN (4, 5, 10)`,
		`INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at) SELECT 'a', s, 'message', 'x', 'ann', '', now() FROM generate_series(1, 12) s`,
	} {
		if _, err := in.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	out, _, err := in.reconcile("--dry-run")
	for _, want := range []string{
		"7 events of 1 room accepted and not stored", "b #4 to #5: accepted, and neither in the outbox nor stored", "b #10: accepted, and neither",
		"a #11 to #12: stored and never accepted here",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if want := `reconcile: 3 accepted events missing: restore the databases from a backup, see "Backups" in docs/operations.md`; exitCode(err) != 1 || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// With what waits as well, and no broker: still one line, and nothing is said to be published that was not.
	in.flags = append(in.flags, "--rabbitmq-url", "amqp://ann:secret@127.0.0.1:1/")
	for _, waited := range []string{"0 waited", "7 waited"} {
		out, _, err = in.reconcile("--wait", "1s")
		if exitCode(err) != 1 || strings.Contains(err.Error(), "\n") ||
			!strings.Contains(err.Error(), "operations.md; not everything is stored: 0 of 7 rows after 1s; ") {
			t.Errorf("got %q", err)
		}
		if !strings.Contains(out, waited) || !strings.Contains(out, "published again 0, stored 0 of 7") {
			t.Errorf("no %q, or a wrong count, in\n%s", waited, out)
		}
	}
}

// A watermark never goes back, so what is gone below it is seen only by counting; a room that the chat room never had is
// seen only in the history.
func TestReconcileSeesHolesAndForeignRooms(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.declare()
	for _, sql := range []string{
		`INSERT INTO chatroom.rooms (room, head) VALUES ('ops', 9), ('low', 3)`,
		`INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
		 SELECT r, s, 'message', 'x', 'ann', '', now() FROM (SELECT 'ops' AS r, generate_series(1, 9) AS s
		 UNION ALL SELECT 'low', generate_series(1, 3) UNION ALL VALUES ('ghost', 7), ('b ad', 3), ('low', 6)) m`,
		`INSERT INTO persister.watermarks VALUES ('ops', 9)`,
		`DELETE FROM persister.messages WHERE room = 'ops' AND seq IN (1, 5, 6, 9)`,
	} {
		if _, err := in.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	out, _, err := in.reconcile()
	for _, want := range []string{
		"2 rooms compared, 12 stored events counted\n", "ops #1: accepted, stored once, and gone", "ops #5 to #6: accepted, stored once", "ops #9: accepted, stored once",
		"ghost #7: stored and never accepted here", "b ad #3: stored and never", "low #6: stored and never",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "4 accepted events missing") || strings.Contains(out, "everything") {
		t.Errorf("got %v", err)
	}
}

func TestReconcileTellsWhyNothingIsPublished(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.declare()
	in.accept(store.NewPostgres(in.pool), outbox.Postgres{Pool: in.pool}, 1, "a")
	in.flags = append(in.flags, "--rabbitmq-url", "amqp://ann:secret@127.0.0.1:1/")
	_, _, err := in.reconcile("--wait", "5s")
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "is RabbitMQ running?") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestReconcileAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, err := call(t, nil, "reconcile", "--data", dir); err == nil || !strings.Contains(err.Error(), "did gochat up ever run there?") {
		t.Errorf("empty folder: got %v", err)
	}
	if _, _, err := call(t, nil, "migrate", "up", "--data", dir); err != nil {
		t.Fatal(err)
	}
	file, err := db.OpenSQLite(context.Background(), dir+"/chatroom.db")
	if err != nil {
		t.Fatal(err)
	}
	ob := outbox.SQLite{DB: file.Writer, Read: file.Reader}
	installation{t: t}.accept(store.NewSQLite(file), ob, 50, "a", "b")
	if _, err := ob.Lease(t.Context(), "up", events.Shards, time.Hour); err != nil { // of a run that was killed
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	out, _, err := call(t, nil, "reconcile", "--data", dir, "--wait", "20s")
	if err != nil || !strings.Contains(out, "published again 100, stored 100 of 100") {
		t.Errorf("got %q, %v", out, err)
	}
	if out, _, err := call(t, nil, "reconcile", "--data", dir); err != nil || !strings.Contains(out, "everything that was accepted is stored") {
		t.Errorf("again: got %q, %v", out, err)
	}
	lock, err := db.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, _, err := call(t, nil, "reconcile", "--data", dir); err == nil || !strings.Contains(err.Error(), "in use by another gochat") {
		t.Errorf("folder in use: got %v", err)
	}
	if out, _, err := call(t, nil, "reconcile", "--data", dir, "--dry-run"); err != nil || !strings.Contains(out, "everything that was accepted is stored") {
		t.Errorf("only to compare, beside the owner: got %q, %v", out, err)
	}
}
