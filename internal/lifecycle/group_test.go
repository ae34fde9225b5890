package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// part starts after startTime, and stops after stopTime with err.
func (j *journal) part(name string, startTime, stopTime time.Duration, err error) func(context.Context, func()) error {
	return func(ctx context.Context, ready func()) error {
		j.add("start " + name)
		<-time.After(startTime) // virtual time
		j.add("ready " + name)
		ready()
		<-ctx.Done()
		j.add("stop " + name)
		<-time.After(stopTime)
		j.add("end " + name)
		return err
	}
}

func (j *journal) check(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if diff := cmp.Diff(want, j.lines); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}

func TestPartsStartInOrderAndStopInReverse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := lifecycle.New(lifecycle.Options{})
		g.AddReady("consumer", j.part("consumer", time.Second, time.Second, nil))
		g.AddReady("relay", j.part("relay", time.Second, time.Second, nil))
		g.AddReady("listener", j.part("listener", 0, time.Second, context.Canceled))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := g.Run(ctx); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		j.check(t,
			"start consumer", "ready consumer", "start relay", "ready relay", "start listener", "ready listener",
			"stop listener", "end listener", "stop relay", "end relay", "stop consumer", "end consumer")
	})
}

func TestTheFirstFailureStopsAllAndIsReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		broken := errors.New("broken")
		g := lifecycle.New(lifecycle.Options{})
		g.AddReady("consumer", j.part("consumer", 0, 0, errors.New("a later one")))
		g.Add("relay", func(context.Context) error {
			<-time.After(time.Minute)
			return broken
		})
		g.AddReady("listener", j.part("listener", 0, 0, nil))
		err := g.Run(t.Context())
		if !errors.Is(err, broken) || err.Error() != "relay: broken" {
			t.Errorf("got %v, want relay: broken", err)
		}
		j.check(t, "start consumer", "ready consumer", "start listener", "ready listener",
			"stop listener", "end listener", "stop consumer", "end consumer")
	})
}

func TestAFailureBeforeReadyStopsWhatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		broken := errors.New("port taken")
		g := lifecycle.New(lifecycle.Options{})
		g.AddReady("consumer", j.part("consumer", 0, 0, nil))
		g.AddReady("listener", func(context.Context, func()) error { return broken })
		g.AddReady("never", j.part("never", 0, 0, nil))
		if err := g.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
		j.check(t, "start consumer", "ready consumer", "stop consumer", "end consumer")
	})
}

func TestAStopDuringTheStartIsOrderly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := lifecycle.New(lifecycle.Options{})
		g.AddReady("consumer", j.part("consumer", 0, 0, nil))
		g.AddReady("waiting", func(ctx context.Context, _ func()) error {
			<-ctx.Done()
			return ctx.Err()
		})
		g.AddReady("never", j.part("never", 0, 0, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Run(ctx); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		j.check(t, "start consumer", "ready consumer", "stop consumer", "end consumer")
	})
}

func TestAPartThatEndsByItselfIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.New(lifecycle.Options{})
		g.Add("relay", func(context.Context) error { return nil })
		if err := g.Run(t.Context()); !errors.Is(err, lifecycle.ErrEnded) || !strings.HasPrefix(err.Error(), "relay: ") {
			t.Errorf("got %v, want relay: %v", err, lifecycle.ErrEnded)
		}
	})
}

func TestAFailureWhileStoppingIsReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := lifecycle.New(lifecycle.Options{})
		g.AddReady("store", j.part("store", 0, 0, errors.New("not flushed")))
		g.AddReady("listener", j.part("listener", 0, 0, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Run(ctx); err == nil || err.Error() != "store: not flushed" {
			t.Errorf("got %v, want store: not flushed", err)
		}
	})
}

func TestAHangingPartIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		consumerEnded := make(chan struct{})
		g := lifecycle.New(lifecycle.Options{StopTimeout: 5 * time.Second})
		g.Add("consumer", func(ctx context.Context) error {
			defer close(consumerEnded)
			<-ctx.Done()
			return nil
		})
		g.Add("relay", func(context.Context) error {
			<-release
			return nil
		})
		g.Add("listener", func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(2 * time.Second)
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := time.Now().Add(time.Minute)
		time.AfterFunc(time.Minute, cancel)
		err := g.Run(ctx)
		var hang *lifecycle.HangError
		if !errors.As(err, &hang) || hang.Part != "relay" {
			t.Errorf("got %v, want relay to hang", err)
		}
		if got := time.Since(cancelled); got != 5*time.Second {
			t.Errorf("stopped after %s, want 5s for all parts together", got)
		}
		<-consumerEnded // it was asked to stop all the same
		close(release)
	})
}

func TestAFailureAndAHangAreBothTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		broken := errors.New("broken")
		g := lifecycle.New(lifecycle.Options{})
		g.Add("consumer", func(context.Context) error {
			<-release
			return nil
		})
		g.Add("relay", func(context.Context) error { return broken })
		err := g.Run(t.Context())
		var hang *lifecycle.HangError
		if !errors.Is(err, broken) || !errors.As(err, &hang) || hang.Part != "consumer" || hang.Timeout != lifecycle.DefaultStopTimeout {
			t.Errorf("got %v, want broken relay and hanging consumer", err)
		}
		close(release)
	})
}

func TestPartsKeepTheValuesOfTheContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	g := lifecycle.New(lifecycle.Options{})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	g.Add("part", func(ctx context.Context) error {
		if ctx.Value(key{}) != "value" {
			t.Error("value is gone")
		}
		cancel()
		<-ctx.Done()
		return nil
	})
	if err := g.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestAnEmptyGroupWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := lifecycle.New(lifecycle.Options{}).Run(ctx); err != nil {
			t.Error(err)
		}
		if ctx.Err() == nil {
			t.Error("ended before its context")
		}
	})
}
