//go:build unix

package doctor

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/internal/services"
)

// lookAtDatabase runs the checks of a PostgreSQL database, and those of what waits in it.
func lookAtDatabase(t *testing.T, databaseURL string) map[string]Report {
	t.Helper()
	e := &Examination{within: checkWithin}
	d := e.addDatabase(Config{DatabaseURL: databaseURL})
	e.addOutbox(d.outbox, d.chatroom, d.stored)
	all := found(t, e)
	for _, r := range all {
		if strings.Contains(r.Detail+r.Remedy, "geheim") {
			t.Errorf("%s tells the password: %+v", r.Name, r)
		}
	}
	return all
}

func exec(t *testing.T, databaseURL string, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestAHealthyDatabase(t *testing.T) {
	t.Parallel()
	_, databaseURL := dbtest.Postgres(t)
	exec(t, databaseURL, `INSERT INTO chatroom.outbox_leases (shard, owner, expires_at)
		SELECT n, 'room-'||n%2, now() + interval '1 minute' FROM generate_series(0, 7) AS n`)
	all := lookAtDatabase(t, databaseURL)
	for name, detail := range map[string]string{
		"database version": "PostgreSQL ", "database clock": "agree", "database size": "iB",
		"database schema chatroom": "version 3 (unchanged)", "database schema persister": "version 3 (dead_letters)",
		"messages outbox": "nothing waits", "messages storage lag": "nothing waits to be stored", "messages nothing missing": "0 rooms compared, and every stored row counted", "messages relay leases": "all 8 shards are relayed: room-0 4, room-1 4",
	} {
		want(t, all, name, OK, detail, "")
	}
}

func TestMessagesThatWait(t *testing.T) {
	t.Parallel()
	_, databaseURL := dbtest.Postgres(t)
	exec(t, databaseURL,
		`INSERT INTO chatroom.outbox (shard, key, seq, payload, created_at, published_at) VALUES
			(1, 'ops', 1, '{}', now() - interval '10 minutes', now()), (1, 'ops', 2, '{}', now() - interval '20 seconds', NULL)`,
		`INSERT INTO chatroom.outbox_leases (shard, owner, expires_at) VALUES (0, 'dead', now() - interval '1 second'), (16384, 'idle', now() + interval '1 minute')`)
	all := lookAtDatabase(t, databaseURL)
	want(t, all, "messages outbox", Warn, "1 message waits to be published, the oldest for ", "a chat room relays them")
	want(t, all, "messages storage lag", Fail, "2 messages wait to be stored, the oldest for 10m", "a persister stores them")
	want(t, all, "messages relay leases", Fail, "no chat room relays", "gochat chatroom")
	exec(t, databaseURL, `INSERT INTO chatroom.outbox_leases (shard, owner, expires_at) VALUES (3, 'live', now() + interval '1 minute')`)
	want(t, lookAtDatabase(t, databaseURL), "messages relay leases", Warn, "1 of 8 shards are relayed: live 1", "look again")
}

// What was stored and is gone leaves nothing in the outbox: only the heads know of it.
func TestMessagesThatAreMissing(t *testing.T) {
	t.Parallel()
	const name = "messages nothing missing"
	_, databaseURL := dbtest.Postgres(t)
	stored := func(room string, from, to int) string {
		return fmt.Sprintf(`INSERT INTO persister.messages (room, seq, kind, id, sender, body, sent_at)
			SELECT '%s', s, 'message', 'x'||s, 'ann', '', now() FROM generate_series(%d, %d) s`, room, from, to)
	}
	exec(t, databaseURL, `INSERT INTO chatroom.rooms (room, head) VALUES ('ops', 10)`, stored("ops", 1, 8),
		`INSERT INTO chatroom.outbox (shard, key, seq, payload) VALUES (1, 'ops', 9, '{}'), (1, 'ops', 10, '{}')`)
	want(t, lookAtDatabase(t, databaseURL), name, OK, "1 room compared", "")
	if n := number(t, databaseURL, `SELECT count(*) FROM persister.watermarks`); n != 0 {
		t.Errorf("looking moved %d watermarks", n)
	}
	exec(t, databaseURL, `INSERT INTO persister.watermarks VALUES ('ops', 8)`, `DELETE FROM persister.messages WHERE seq = 3`)
	want(t, lookAtDatabase(t, databaseURL), name, Fail, "neither in the outbox nor stored: 1 event, ops #3", "from a backup")
	exec(t, databaseURL, `TRUNCATE persister.messages, persister.watermarks`)
	all := lookAtDatabase(t, databaseURL)
	want(t, all, name, Fail, "neither in the outbox nor stored: 8 events, ops #1 to #8", "from a backup")
	want(t, all, "messages storage lag", OK, "2 messages wait", "")
	exec(t, databaseURL, stored("ops", 1, 8), stored("ghost", 7, 7))
	want(t, lookAtDatabase(t, databaseURL), name, Fail, "never accepted here: 1 event, ghost #7", "Who may publish")
}

func number(t *testing.T, databaseURL, query string) (n int) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestASchemaOfAnotherVersion(t *testing.T) {
	t.Parallel()
	all := lookAtDatabase(t, dbtest.Empty(t))
	want(t, all, "database schema chatroom", Fail, "too old: chatroom lacks version 1", "gochat migrate up")
	want(t, all, "database schema persister", Fail, "too old: persister lacks version 1", "gochat migrate up")
	want(t, all, "messages outbox", Skipped, "because of ✗ database schema chatroom", "")

	_, newer := dbtest.Postgres(t)
	exec(t, newer, "INSERT INTO persister.goose_db_version (version_id, is_applied) VALUES (99, true)")
	all = lookAtDatabase(t, newer)
	want(t, all, "database schema persister", Fail, "too new: persister has version 99", "use a newer gochat")
	want(t, all, "database schema chatroom", OK, "", "")
}

func TestADatabaseThatCannotBeReached(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody listens there now
	all := lookAtDatabase(t, "postgres://ann:geheim@"+l.Addr().String()+"/chat")
	want(t, all, "database reachable", Fail, "cannot reach "+l.Addr().String()+": connection refused", "is PostgreSQL running?")
	want(t, all, "database fsync", Skipped, "because of ✗ database reachable", "")
	want(t, all, "messages storage lag", Skipped, "because of ✗ database reachable", "")
	all = lookAtDatabase(t, "postgres://ann:ge/heim@"+l.Addr().String()+"/chat")
	want(t, all, "database reachable", Fail, "DATABASE_URL", "")
	all = lookAtDatabase(t, dbtest.ServerURL()+"&synchronous_commit=off")
	want(t, all, "database reachable", Fail, "would lose accepted messages", "take it out of the URL")
}

func TestAServerThatDoesNotSync(t *testing.T) {
	t.Parallel()
	srv, err := services.StartPostgres(t.Context(), t.TempDir(), services.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Kill(); err != nil {
			t.Error(err)
		}
	})
	all := lookAtDatabase(t, srv.URL())
	want(t, all, "database fsync", Fail, "off: a power cut", "without -c fsync=off")
	want(t, all, "database full_page_writes", Fail, "off: a power cut", "without -c full_page_writes=off")
	want(t, all, "database synchronous_commit", Warn, "on in the services' sessions", "without -c synchronous_commit=off")
}

// With a role that has it off, the services' own asking is all that stands; a pooler that drops it takes that away.
func TestSynchronousCommitOfARole(t *testing.T) {
	t.Parallel()
	_, admin := dbtest.Postgres(t)
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	role := strings.ReplaceAll(u.Path[1:], "gochat_test_", "gochat_role_")
	exec(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD 'geheim'", "ALTER ROLE "+role+" SET synchronous_commit = off")
	t.Cleanup(func() { exec(t, dbtest.ServerURL(), "DROP ROLE "+role) })
	u.User = url.UserPassword(role, "geheim")
	remedy := fmt.Sprintf(`ALTER ROLE "%s" RESET synchronous_commit;`, role)
	want(t, lookAtDatabase(t, u.String()), "database synchronous_commit", Warn, "on in the services' sessions, which ask for it; off in all others", remedy)

	u.Host = pooler(t, u.Host)
	want(t, lookAtDatabase(t, u.String()), "database synchronous_commit", Fail, "off in the services' sessions", remedy)
}

// A role that reads and writes the outbox, as an operator may grant it, and does not own it.
func TestVacuumOfARole(t *testing.T) {
	t.Parallel()
	_, admin := dbtest.Postgres(t)
	want(t, lookAtDatabase(t, admin), "database vacuum", OK, "the relay may vacuum the outbox", "")
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	role := strings.ReplaceAll(u.Path[1:], "gochat_test_", "gochat_role_")
	exec(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD 'geheim'",
		"GRANT USAGE ON SCHEMA chatroom, persister TO "+role,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA chatroom, persister TO "+role)
	t.Cleanup(func() { exec(t, admin, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	u.User = url.UserPassword(role, "geheim")
	want(t, lookAtDatabase(t, u.String()), "database vacuum", Warn, "may not vacuum the outbox", `ALTER TABLE chatroom.outbox OWNER TO "`+role+`"`)
}

// pooler passes connections on without the parameter synchronous_commit of their start, as PgBouncer does with
// ignore_startup_parameters. It ends with the test.
func pooler(t *testing.T, target string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				defer out.Close()
				if err := passStart(out, in); err != nil {
					return
				}
				wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
				_, _ = io.Copy(out, in)
			})
		}
	})
	return l.Addr().String()
}

// passStart passes the first message on: its length, the protocol, then names and values.
func passStart(out io.Writer, in io.Reader) error {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:])-4)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	rest := strings.ReplaceAll(string(body[4:]), "synchronous_commit\x00on\x00", "")
	start := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	_, err := out.Write(append(append(start, body[:4]...), rest...))
	return err
}
