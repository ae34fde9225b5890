package e2e

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// embedded starts `gochat up` on a fresh data folder.
func embedded(tb testing.TB, args ...string) *process {
	tb.Helper()
	return start(tb, nil, append([]string{
		"up", "--listen", "127.0.0.1:0", "--history-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", tb.TempDir(),
	}, args...)...)
}

// split is an installation over PostgreSQL and RabbitMQ, of which the test starts the services.
type split struct {
	tb          testing.TB
	env         []string
	databaseURL string
	historyAddr string // where the first persister is, or will be
	brokerURL   string
	topology    events.Topology
}

// newSplit makes a migrated database and a topology of its own on the broker.
func newSplit(tb testing.TB, brokerURL string) *split {
	tb.Helper()
	_, databaseURL := dbtest.Postgres(tb)
	prefix := "e2e" + strings.ToLower(rand.Text()[:8]) + "."
	topology := events.Topology{Prefix: prefix}
	tb.Cleanup(func() { removeTopology(tb, brokerURL, topology) })
	return &split{
		tb: tb, databaseURL: databaseURL, historyAddr: freeAddr(tb), brokerURL: brokerURL, topology: topology,
		env: []string{"DATABASE_URL=" + databaseURL, "RABBITMQ_URL=" + brokerURL, "GOCHAT_RABBITMQ_PREFIX=" + prefix},
	}
}

func (s *split) chatroom(args ...string) *process {
	s.tb.Helper()
	return start(s.tb, s.env, append([]string{
		"chatroom", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--history-addr", s.historyAddr,
	}, args...)...)
}

// persister starts one; the first listens where the chat rooms look for it.
func (s *split) persister(args ...string) *process {
	s.tb.Helper()
	return start(s.tb, s.env, append([]string{"persister", "--listen", s.historyAddr, "--admin-listen", "127.0.0.1:0"}, args...)...)
}

// morePersister starts a further one.
func (s *split) morePersister() {
	s.tb.Helper()
	start(s.tb, s.env, "persister", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
}

// query runs f on the installation's database.
func (s *split) query(f func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return f(ctx, conn)
}

// count runs a query that returns one number.
func (s *split) count(sql string, args ...any) (n int64, err error) {
	err = s.query(func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, sql, args...).Scan(&n) })
	return n, err
}

// brokerURL is the broker that tests may declare things on; see CONTRIBUTING.md.
func brokerURL() string {
	if u := os.Getenv("GOCHAT_TEST_RABBITMQ_URL"); u != "" {
		return u
	}
	return "amqp://guest:guest@127.0.0.1:5672/"
}

func removeTopology(tb testing.TB, url string, t events.Topology) {
	conn, err := amqp.Dial(url)
	if err != nil {
		tb.Logf("topology not removed: %v", err)
		return
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		tb.Logf("topology not removed: %v", err)
		return
	}
	for _, q := range []string{t.MessageSentQueue(), t.DeadLetterQueue()} {
		if _, err := ch.QueueDelete(q, false, false, false); err != nil {
			tb.Logf("queue not removed: %v", err)
			return
		}
	}
	for _, x := range []string{t.EventsExchange(), t.DeadLetterExchange(), t.FanoutExchange()} {
		if err := ch.ExchangeDelete(x, false, false); err != nil {
			tb.Logf("exchange not removed: %v", err)
			return
		}
	}
}

// deadLetters counts what is in the poison queue.
func deadLetters(tb testing.TB, s *split) int {
	tb.Helper()
	conn, err := amqp.Dial(s.brokerURL)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatal(err)
	}
	q, err := ch.QueueDeclarePassive(s.topology.DeadLetterQueue(), true, false, false, false, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return q.Messages
}

// withDatabase is the test server's URL with another database.
func withDatabase(tb testing.TB, name string) string {
	tb.Helper()
	u, err := url.Parse(dbtest.ServerURL())
	if err != nil {
		tb.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}
