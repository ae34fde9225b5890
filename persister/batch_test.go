package persister_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
)

// gate is a store whose inserts wait for a release, and which counts them.
type gate struct {
	memory
	release chan error // one value an insert; an error is an outage
	mu      sync.Mutex
	sizes   []int // guarded by mu; events of each insert
}

func newGate() *gate {
	g := &gate{release: make(chan error)}
	g.Before = func(evs []events.MessageSent) error {
		g.mu.Lock()
		g.sizes = append(g.sizes, len(evs))
		g.mu.Unlock()
		return <-g.release
	}
	return g
}

func nothing(context.Context, events.MessagesStored) error { return nil }

func (g *gate) persister() *persister.Persister {
	return persister.New(persister.Options{Store: g, Announce: nothing, Logger: quiet()})
}

// call starts a Handle and returns where its answer comes.
func call(ctx context.Context, p *persister.Persister, raw [][]byte) <-chan []error {
	answer := make(chan []error, 1)
	go func() { answer <- p.Handle(ctx, raw) }()
	return answer
}

func TestOneInsertTakesAllWhoWait(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 65))
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		p := g.persister()
		stop := running(t, p)
		var answers []<-chan []error
		for i := range raw {
			answers = append(answers, call(t.Context(), p, raw[i:i+1]))
			synctest.Wait()
		}
		g.release <- nil
		g.release <- nil
		for _, a := range answers {
			if err := errors.Join(<-a...); err != nil {
				t.Error(err)
			}
		}
		stop()
		if len(g.sizes) != 2 || g.sizes[0] != 1 || g.sizes[1] != 64 {
			t.Errorf("inserts of %v events, want 1, then the 64 that waited", g.sizes)
		}
		stored(t, g, "ops", 65)
	})
}

func TestInsertersInsertAtOnce(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 6))
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		p := persister.New(persister.Options{Store: g, Inserters: 2, Announce: nothing, Logger: quiet()})
		stop := running(t, p)
		var answers []<-chan []error
		for i := range raw {
			answers = append(answers, call(t.Context(), p, raw[i:i+1]))
			synctest.Wait()
		}
		if len(g.sizes) != 2 {
			t.Errorf("%d inserts under way, want 2", len(g.sizes))
		}
		close(g.release)
		stop() // with four that wait
		for _, a := range answers {
			if err := errors.Join(<-a...); err != nil {
				t.Error(err)
			}
		}
		if len(g.sizes) > 4 {
			t.Errorf("inserts of %v events, want 1, 1, then the 4 that waited in one or two", g.sizes)
		}
		stored(t, g, "ops", 6)
	})
}

func TestInsertIsBounded(t *testing.T) {
	t.Parallel()
	large := storetest.Events("large", 1, 40)
	for i := range large {
		large[i].Text = strings.Repeat("x", 200<<10)
	}
	rawLarge, rawMany := encoded(t, large), encoded(t, storetest.Events("many", 1, 2500))
	synctest.Test(t, func(t *testing.T) {
		const maxEvents, maxBytes = 1024, 4 << 20
		s := &memory{Before: func(evs []events.MessageSent) error {
			bytes := 0
			for _, e := range evs {
				bytes += len(e.Text)
			}
			if len(evs) > maxEvents || bytes > maxBytes {
				t.Errorf("an insert of %d events and %d bytes", len(evs), bytes)
			}
			return nil
		}}
		p := persister.New(persister.Options{Store: s, Announce: nothing, Logger: quiet()})
		stop := running(t, p)
		defer stop()
		answers := []<-chan []error{call(t.Context(), p, rawLarge), call(t.Context(), p, rawMany)} // more than one insert each
		for i := 0; i+70 <= len(rawMany); i += 70 {
			answers = append(answers, call(t.Context(), p, rawMany[i:i+70]))
		}
		for _, a := range answers {
			if err := errors.Join(<-a...); err != nil {
				t.Error(err)
			}
		}
		stored(t, s, "many", 2500)
	})
}

func TestOutageIsForAllAndHeals(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 20))
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		p := g.persister()
		stop := running(t, p)
		defer stop()
		away := errors.New("database is away")
		answer := call(t.Context(), p, raw)
		g.release <- away
		for _, err := range <-answer {
			if !errors.Is(err, away) || events.IsPermanent(err) {
				t.Errorf("error is %v, want the outage, not permanent", err)
			}
		}
		answer = call(t.Context(), p, raw)
		g.release <- nil
		if err := errors.Join(<-answer...); err != nil {
			t.Error(err)
		}
	})
}

func TestMalformedEventIsPermanentAndAlone(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 3))
	nul := storetest.Event("ops", 4)
	nul.Text = "\x00"
	presence, err := events.TypingStarted{Room: "ops"}.Encode("1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw[:2:2], []byte("{"), nil, []byte(`{"specversion":"1.0"}`), presence, encoded(t, []events.MessageSent{nul})[0], raw[2])
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		p := persister.New(persister.Options{Store: s, Announce: nothing, Logger: quiet()})
		stop := running(t, p)
		defer stop()
		errs := p.Handle(t.Context(), raw)
		for i, err := range errs {
			bad := i >= 2 && i < len(raw)-1
			if bad != events.IsPermanent(err) || bad != (err != nil) {
				t.Errorf("event %d: %v, want a permanent error: %v", i, err, bad)
			}
		}
		stored(t, s, "ops", 3)
		if errs := p.Handle(t.Context(), nil); len(errs) != 0 {
			t.Errorf("no events: %v", errs)
		}
	})
}

func TestCallerThatLeavesHarmsNobody(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 3))
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		p := g.persister()
		stop := running(t, p)
		defer stop()
		leaving, leave := context.WithCancel(t.Context())
		inFlight := call(leaving, p, raw[:1])
		synctest.Wait()
		waiting := call(leaving, p, raw[1:2])
		staying := call(t.Context(), p, raw[2:])
		synctest.Wait()
		leave()
		for _, a := range []<-chan []error{inFlight, waiting} {
			if err := errors.Join(<-a...); !errors.Is(err, context.Canceled) || events.IsPermanent(err) {
				t.Errorf("who left got %v, want that it left", err)
			}
		}
		g.release <- nil
		g.release <- nil
		if err := errors.Join(<-staying...); err != nil {
			t.Error(err)
		}
	})
}

func TestStopDrainsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 11))
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var last int64
		p := persister.New(persister.Options{Store: g, Logger: quiet(), Announce: func(_ context.Context, m events.MessagesStored) error {
			last = m.Rooms["ops"]
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		var answers []<-chan []error
		for i := range raw[:10] { // one in an insert, nine that wait
			answers = append(answers, call(t.Context(), p, raw[i:i+1]))
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		g.release <- nil
		g.release <- nil
		for _, a := range answers {
			if err := errors.Join(<-a...); err != nil {
				t.Errorf("in flight at the stop: %v, want it stored", err)
			}
		}
		if err := <-done; err != nil {
			t.Errorf("run: %v, want nil", err)
		}
		if last != 10 {
			t.Errorf("last announcement is %d, want 10", last)
		}
		if err := errors.Join(p.Handle(t.Context(), raw[10:])...); !errors.Is(err, persister.ErrStopped) || events.IsPermanent(err) {
			t.Errorf("after the stop: %v, want that it stopped, not permanent", err)
		}
	})
}

func TestStopDoesNotWaitForADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	raw := encoded(t, storetest.Events("ops", 1, 2))
	synctest.Test(t, func(t *testing.T) {
		hang := hanging{}
		p := persister.New(persister.Options{Store: hang, Announce: nothing, Logger: quiet()})
		stop := running(t, p)
		a := call(t.Context(), p, raw[:1])
		synctest.Wait()
		b := call(t.Context(), p, raw[1:])
		synctest.Wait()
		start := time.Now()
		stop()
		if took := time.Since(start); took > 12*time.Second {
			t.Errorf("stop took %v", took)
		}
		for _, answer := range []<-chan []error{a, b} {
			if err := errors.Join(<-answer...); err == nil || events.IsPermanent(err) {
				t.Errorf("error is %v, want one to try again", err)
			}
		}
	})
}

// hanging is a store that answers nothing until its caller gives up.
type hanging struct{ persister.Store }

func (hanging) Insert(ctx context.Context, _ []events.MessageSent) ([]error, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
