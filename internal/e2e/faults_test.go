package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/services"
)

// What was accepted is there after kill -9 of the process that accepted it.
func TestAcceptedMeansCommitted(t *testing.T) {
	t.Parallel()
	story := func(t *testing.T, p *process) {
		ann := hello(t, p.addr, "ann")
		ann.join("lobby", -1)
		var told []receipt
		for i := range 50 {
			id := fmt.Sprint(i)
			a := ann.send("lobby", id, "text "+id)
			told = append(told, receipt{"ann", id, "text " + id, a.Seq})
		}
		p.kill()
		p.again()
		mustMatch(t, told, readAll(t, p.addr, "lobby", 50))
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		story(t, embedded(t))
	})
	t.Run("split", func(t *testing.T) {
		t.Parallel()
		s := newSplit(t, brokerURL())
		s.persister()
		story(t, s.chatroom())
	})
}

// 20 clients send 10,000 messages and retry, while a process is killed in the middle and started again.
func TestEveryAcceptedMessageIsStoredInTheEnd(t *testing.T) {
	t.Parallel()
	const senders, each = 20, 500
	kill := func(t *testing.T, victim *process, addrs ...string) []receipt {
		var progress atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, at := range []int64{1500, 4000, 7000} {
				eventually(t, 3*time.Minute, fmt.Sprintf("%d accepted", at), func() error {
					if n := progress.Load(); n < at && !t.Failed() {
						return fmt.Errorf("%d are", n)
					}
					return nil
				})
				victim.kill()
				victim.again()
			}
		})
		told := crowd(t, "busy", senders, each, &progress, addrs...)
		wg.Wait()
		return told
	}
	t.Run("chatroom", func(t *testing.T) {
		t.Parallel()
		s := newSplit(t, brokerURL())
		s.persister()
		victim, other := s.chatroom("--send-rate", "0"), s.chatroom("--send-rate", "0")
		told := kill(t, victim, victim.addr, other.addr)
		mustMatch(t, told, s.storedLog("busy", senders*each, time.Minute))
		mustMatch(t, told, readAll(t, other.addr, "busy", senders*each))
		s.outboxEmpties()
	})
	t.Run("persister", func(t *testing.T) {
		t.Parallel()
		s := newSplit(t, brokerURL())
		victim := s.persister()
		s.morePersister()
		chat := s.chatroom("--send-rate", "0")
		told := kill(t, victim, chat.addr)
		mustMatch(t, told, s.storedLog("busy", senders*each, time.Minute))
		mustMatch(t, told, readAll(t, chat.addr, "busy", senders*each))
		s.outboxEmpties()
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		p := embedded(t, "--send-rate", "0")
		told := kill(t, p, p.addr)
		mustMatch(t, told, readAll(t, p.addr, "busy", senders*each))
	})
}

// The chat room is the first that was ever started: no persister has declared a queue, and none runs.
func TestEveryAcceptedMessageIsStoredThoughNoPersisterEverRan(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	chat := s.chatroom("--send-rate", "0")
	var progress atomic.Int64
	told := crowd(t, "early", 4, 250, &progress, chat.addr)
	if n, err := s.count(`SELECT count(*) FROM persister.messages`); err != nil || n != 0 {
		t.Fatalf("%d stored without a persister, %v", n, err)
	}
	// Readers see all of it meanwhile, from the outbox.
	mustMatch(t, told, readAll(t, chat.addr, "early", 1000))
	s.persister()
	mustMatch(t, told, s.storedLog("early", 1000, time.Minute))
	w := hello(t, chat.addr, "late")
	w.join("early", 999)
	s.outboxEmpties()
	mustMatch(t, told, readAll(t, chat.addr, "early", 1000))
}

// Stories that stop the broker or the database have their own.
func privateBroker(t *testing.T) *services.Server {
	t.Helper()
	srv, err := services.StartRabbitMQ(context.Background(), t.TempDir(), services.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop(context.Background()) })
	return srv
}

// The room goes on without a broker; what it accepted meanwhile is stored when the broker is back.
func TestEveryAcceptedMessageIsStoredThoughTheBrokerWasAway(t *testing.T) {
	t.Parallel()
	broker := privateBroker(t)
	s := newSplit(t, broker.URL())
	chat := s.chatroom("--send-rate", "0")
	s.persister()
	reader := hello(t, chat.addr, "reader")
	reader.join("r", -1)
	reader.send("r", "0", "before")
	reader.stored("r", 1)
	if err := broker.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	var progress atomic.Int64
	told := append(crowd(t, "r", 4, 250, &progress, chat.addr), receipt{"reader", "0", "before", 1})
	reader.events("r", 0, 1001) // live, without a broker
	if n, err := s.count(`SELECT count(*) FROM persister.messages`); err != nil || n != 1 {
		t.Fatalf("%d stored without a broker, %v", n, err)
	}
	if err := broker.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustMatch(t, told, s.storedLog("r", 1001, 2*time.Minute))
	reader.stored("r", 1001)
	s.outboxEmpties()
}

// What was published is in the broker only; then the broker's disk is gone.
func TestTheBrokerIsDisposable(t *testing.T) {
	t.Parallel()
	broker := privateBroker(t)
	s := newSplit(t, broker.URL())
	chat := s.chatroom("--send-rate", "0", "--republish-after", "3s")
	var progress atomic.Int64
	told := crowd(t, "r", 4, 100, &progress, chat.addr)
	eventually(t, time.Minute, "all published", func() error {
		n, err := s.count(`SELECT count(*) FROM chatroom.outbox WHERE published_at IS NULL`)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d are not", n)
		}
		return err
	})
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := broker.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := broker.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.persister()
	mustMatch(t, told, s.storedLog("r", 400, 2*time.Minute))
	s.outboxEmpties()
}

// privateDatabase gives the installation a server of its own, with the settings of production.
func (s *split) privateDatabase(t *testing.T) *services.Server {
	t.Helper()
	ctx := context.Background()
	server, err := services.StartPostgres(ctx, t.TempDir(), services.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(ctx) })
	s.databaseURL = server.URL()
	s.env[0] = "DATABASE_URL=" + server.URL()
	if r := gochat(ctx, t, nil, s.env, "migrate", "up"); r.code != 0 {
		t.Fatalf("migrate: %s%s", r.out, r.err)
	}
	return server
}

// While the database is away a send is refused with a code that asks to retry, and nothing is accepted that is not there
// afterwards.
func TestNoAcceptedWithoutADatabase(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newSplit(t, brokerURL())
	server := s.privateDatabase(t)
	chat := s.chatroom("--send-rate", "0")
	s.persister()
	w := hello(t, chat.addr, "ann")
	w.join("r", -1)
	told := []receipt{{"ann", "before", "x", w.send("r", "before", "x").Seq}}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	w.say(`{"type":"send","id":"during","room":"r","text":"x"}`)
	w.refused(frame.Unavailable, "during")
	w.say(`{"type":"history","id":"h","room":"r","after":0,"limit":5}`)
	w.refused(frame.Unavailable, "h")
	if resp := post(t, chat.addr, "r", "during2", `{"name":"ann","text":"x"}`); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("over HTTP: %s", resp.Status)
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "accepting again", func() error {
		w.say(`{"type":"send","id":"during","room":"r","text":"x"}`)
		f := w.answer("during")
		if f.Type != "accepted" {
			return fmt.Errorf("%s %s", text(f.Code), f.Message)
		}
		told = append(told, receipt{"ann", "during", "x", f.Seq})
		return nil
	})
	mustMatch(t, told, s.storedLog("r", 2, time.Minute))
	w.events("r", 0, 2)
}

// Both services stop in order under load, and nothing is lost or left over.
func TestOrderlyStopUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	persister, chat := s.persister(), s.chatroom("--send-rate", "0")
	var progress atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, p := range []*process{persister, chat} {
			eventually(t, time.Minute, "progress", func() error {
				if n := progress.Load(); n < int64(500+1000*i) && !t.Failed() {
					return fmt.Errorf("%d accepted", n)
				}
				return nil
			})
			if code := p.terminate(); code != 0 {
				t.Errorf("%s: exit code %d\n%s", p.name, code, tail(p.stderr.String(), 3000))
			}
			p.again()
		}
	})
	told := crowd(t, "r", 8, 400, &progress, chat.addr)
	wg.Wait()
	mustMatch(t, told, s.storedLog("r", 3200, time.Minute))
	s.outboxEmpties()
	if n := deadLetters(t, s); n != 0 {
		t.Errorf("%d good messages were dead-lettered", n)
	}
}
