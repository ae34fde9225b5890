package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
)

// traced is what gochat trace --json tells, as far as the tests look at it.
type traced struct {
	Accepted, Stored time.Time
	Steps            []tracedStep
	Services         []struct{ URL, Service, Unknown string }
	Verdict          string
}

type tracedStep struct {
	URL, Service, Kind, Outcome, Reason string
	Begun, Ended                        time.Time
	Delivery                            int
	Duplicate                           bool
}

var adminAddr = regexp.MustCompile(`"admin listener" addr=(\S+)`)

// admin is the URL of the process's admin listener, that of its latest start.
func (p *process) admin() string {
	p.tb.Helper()
	all := adminAddr.FindAllStringSubmatch(p.stderr.String(), -1)
	if len(all) == 0 {
		p.tb.Fatalf("%s tells no admin listener", p.name)
	}
	return "http://" + all[len(all)-1][1]
}

// trace runs gochat trace for the message 1 of ann, until every step that is told has ended.
func trace(t *testing.T, env []string, args ...string) (traced, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args = append([]string{"trace", "1", "--sender", "ann"}, args...)
	var w traced
	eventually(t, 20*time.Second, "all steps ended", func() error {
		w = traced{}
		r := gochat(ctx, t, nil, env, append(args, "--json")...)
		if err := json.Unmarshal([]byte(r.out), &w); err != nil || r.code != 0 {
			t.Fatalf("trace: exit code %d, %v: %s%s", r.code, err, r.out, r.err)
		}
		for _, s := range w.Steps {
			if s.Ended.IsZero() {
				return fmt.Errorf("%s is %s", s.Kind, s.Outcome)
			}
		}
		if !slices.ContainsFunc(w.Steps, func(s tracedStep) bool { return s.Outcome == "confirmed" }) {
			return fmt.Errorf("not confirmed: %+v", w)
		}
		return nil
	})
	return w, gochat(ctx, t, nil, env, args...).out
}

// inOrder fails unless each time is that before it, or later.
func inOrder(t *testing.T, what string, times ...time.Time) {
	t.Helper()
	for i, at := range times {
		if at.IsZero() || i > 0 && at.Before(times[i-1]) {
			t.Errorf("%s: time %d of %v is not in order", what, i, times)
		}
	}
}

// The whole way of a message of two services, and of one whose place somebody else wants to have.
func TestTraceTellsTheWholeWay(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	keeper, chat := s.persister(), s.chatroom()
	ann := hello(t, chat.addr, "ann")
	ann.join("r", -1)
	ann.send("r", "1", "secret words")
	ann.stored("r", 1)
	w, text := trace(t, s.env, "--admin", chat.admin()+","+keeper.admin()+","+chat.admin()+"/")
	if len(w.Steps) != 2 || len(w.Services) != 2 {
		t.Fatalf("got %+v, want a publishing and a delivery, of two services", w)
	}
	published, delivered := w.Steps[0], w.Steps[1]
	if published.Kind != "publishing" || published.Service != "chatroom" || published.Outcome != "confirmed" ||
		delivered.Kind != "delivery" || delivered.Service != "persister" || delivered.Outcome != "stored" || delivered.Delivery != 1 || delivered.Duplicate {
		t.Errorf("got %+v", w)
	}
	inOrder(t, "publish", w.Accepted, published.Begun, published.Ended)
	inOrder(t, "store", published.Begun, delivered.Begun, w.Stored, delivered.Ended)
	if strings.Contains(text, "not known") || strings.Contains(text, "secret") {
		t.Errorf("got %s", text)
	}
	for _, name := range []string{"accepted", "published", "confirmed", "delivered", "handled", "stored"} {
		if !regexp.MustCompile(`(?m)^  ` + name + ` +\d{4}-.*Z`).MatchString(text) {
			t.Errorf("no time of %s in\n%s", name, text)
		}
	}

	body, err := events.MessageSent{Room: "r", Seq: 1, Kind: events.KindMessage, ID: "1", From: "mallory", Text: "secret", SentAt: time.Now().UTC()}.Encode("")
	if err != nil {
		t.Fatal(err)
	}
	onBroker(t, s, func(ch *amqp.Channel) error {
		return ch.PublishWithContext(context.Background(), s.topology.EventsExchange(), events.MessageSentKey(events.Shard("r")), true, false,
			amqp.Publishing{ContentType: events.ContentType, MessageId: "planted", DeliveryMode: amqp.Persistent, Body: body})
	})
	eventually(t, time.Minute, "the planted one dead-lettered", func() error {
		if n := deadLetters(t, s); n != 1 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	w, text = trace(t, s.env, "--admin", chat.admin()+","+keeper.admin())
	if len(w.Steps) != 3 || w.Steps[2].Outcome != "refused" || !strings.Contains(w.Steps[2].Reason, "another event is stored") || strings.Contains(text, "secret") {
		t.Errorf("got %+v\n%s", w, text)
	}
}

// The persister dies between its commit and the acknowledgement; the next one gets the message again.
func TestTraceTellsARedelivery(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	dying := s.persister("--crash-at", "insert-committed")
	chat := s.chatroom()
	ann := hello(t, chat.addr, "ann")
	ann.join("r", -1)
	ann.send("r", "1", "text")
	select {
	case <-dying.exited:
	case <-time.After(time.Minute):
		t.Fatal("the persister does not crash")
	}
	keeper := s.persister()
	ann.stored("r", 1)
	w, text := trace(t, s.env, "--admin", chat.admin()+","+dying.admin()+","+keeper.admin())
	if len(w.Steps) != 2 || w.Steps[1].URL != keeper.admin() || w.Steps[1].Delivery < 2 || !w.Steps[1].Duplicate {
		t.Fatalf("got %+v, want one delivery, not the first", w)
	}
	inOrder(t, "twice", w.Accepted, w.Steps[0].Begun, w.Stored, w.Steps[1].Begun, w.Steps[1].Ended)
	for _, want := range []string{
		fmt.Sprintf(", delivery %d of its message)\n", w.Steps[1].Delivery), "(it was stored already)\n",
		dying.admin() + " tells nothing: nothing listens there\n", "persister at " + keeper.admin() + " remembers since ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// A message that no queue takes comes back, and is published again.
func TestTraceTellsAReturnedMessage(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	chat := s.chatroom()
	ann := hello(t, chat.addr, "ann")
	ann.join("r", -1)
	ann.send("r", "0", "text")
	eventually(t, time.Minute, "the queue declared by the first publishing", func() error {
		n, err := s.count(`SELECT count(*) FROM chatroom.outbox WHERE published_at IS NOT NULL`)
		if err == nil && n == 0 {
			err = errors.New("nothing is published")
		}
		return err
	})
	onBroker(t, s, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(s.topology.MessageSentQueue(), false, false, false)
		return err
	})
	ann.send("r", "1", "text")
	w, text := trace(t, s.env, "--admin", chat.admin())
	last := len(w.Steps) - 1
	if last < 1 || w.Steps[0].Outcome != "failed" || !strings.Contains(w.Steps[0].Reason, "no queue takes the message") || w.Steps[last].Outcome != "confirmed" {
		t.Errorf("got %+v", w)
	}
	inOrder(t, "again", w.Accepted, w.Steps[0].Begun, w.Steps[0].Ended, w.Steps[last].Begun, w.Steps[last].Ended)
	for _, want := range []string{"not published: ", "delivered  not known: no persister could be asked; --admin names them\n", ", confirmed 1 time\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// One process: it confirms when it has stored. Another one with an equal room is no part of it.
func TestTraceBesideUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	up, other := embedded(t, "--data", dir), embedded(t)
	for _, p := range []*process{up, other} {
		ann := hello(t, p.addr, "ann")
		ann.join("r", -1)
		ann.send("r", "1", "secret words")
		ann.stored("r", 1)
	}
	w, text := trace(t, nil, "--data", dir, "--admin", up.admin()+","+other.admin())
	if len(w.Steps) != 2 || w.Steps[0].Kind != "publishing" || w.Steps[1].Kind != "delivery" || w.Steps[1].Outcome != "stored" || w.Steps[1].Duplicate ||
		w.Steps[0].URL != up.admin() || w.Steps[1].URL != up.admin() || w.Steps[0].Service != "up" {
		t.Fatalf("got %+v", w)
	}
	inOrder(t, "one process", w.Accepted, w.Steps[0].Begun, w.Steps[1].Begun, w.Steps[1].Ended, w.Steps[0].Ended)
	inOrder(t, "in whole milliseconds of SQLite", w.Steps[1].Begun.Truncate(time.Millisecond), w.Stored, w.Steps[1].Ended)
	if !strings.Contains(text, other.admin()+" tells nothing: it works on another database\n") || strings.Contains(text, "not known") || strings.Contains(text, "secret") {
		t.Errorf("got %s", text)
	}
}

func onBroker(t *testing.T, s *split, do func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(s.brokerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := do(ch); err != nil {
		t.Fatal(err)
	}
}
