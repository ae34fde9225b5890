// Package rabbit gives tests a broker: its URL, names of their own on it, and a proxy before it that can be cut, stalled
// and closed.
package rabbit

import (
	"crypto/rand"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// URL is the broker for tests, GOCHAT_TEST_RABBITMQ_URL or the local one. Without it the test fails.
func URL(tb testing.TB) string {
	tb.Helper()
	url := os.Getenv("GOCHAT_TEST_RABBITMQ_URL")
	if url == "" {
		url = "amqp://guest:guest@127.0.0.1:5672/"
	}
	u, err := amqp.ParseURI(url)
	if err != nil {
		tb.Fatal("GOCHAT_TEST_RABBITMQ_URL is no broker's URL")
	}
	host := net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
	c, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		tb.Fatalf("no RabbitMQ at %s: run `go tool -modfile=tools/go.mod task test`, which starts one", host)
	}
	_ = c.Close()
	return url
}

// Topology returns names that no other test has, and deletes what carries them when the test ends.
func Topology(tb testing.TB) events.Topology {
	tb.Helper()
	t := events.Topology{Prefix: "t" + strings.ToLower(rand.Text()[:12]) + "."}
	url := URL(tb)
	tb.Cleanup(func() {
		conn, err := amqp.Dial(url)
		if err != nil {
			tb.Errorf("clean up: %v", err)
			return
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			tb.Errorf("clean up: %v", err)
			return
		}
		for _, q := range []string{t.MessageSentQueue(), t.DeadLetterQueue()} {
			if _, err := ch.QueueDelete(q, false, false, false); err != nil {
				tb.Errorf("delete queue %s: %v", q, err)
			}
		}
		for _, x := range []string{t.EventsExchange(), t.DeadLetterExchange(), t.FanoutExchange()} {
			if err := ch.ExchangeDelete(x, false, false); err != nil {
				tb.Errorf("delete exchange %s: %v", x, err)
			}
		}
	})
	return t
}

// Channel opens a channel on a connection of its own, for as long as the test.
func Channel(tb testing.TB, url string) *amqp.Channel {
	tb.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatalf("open a channel: %v", err)
	}
	return ch
}

// Eventually polls ok, which asks a real server, until it is true or a minute has passed.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("not within a minute: %s", what)
		}
	}
}
