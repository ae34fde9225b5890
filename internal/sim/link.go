package sim

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"
)

// Fault is how one call ends.
type Fault int

const (
	// Refused says that nothing was done.
	Refused Fault = iota
	// Lost says that it was done, and the answer never came.
	Lost
	// Late says that the answer is lost at once, and it is done only after a while, behind what the caller tries next.
	Late
)

// late is how long a call takes that is done late, 4 s or a minute by turns.
var late = [...]time.Duration{4 * time.Second, time.Minute}

// Faults draws one.
func Faults() *rapid.Generator[Fault] { return rapid.SampledFrom([]Fault{Refused, Lost, Late}) }

// latency is what every call takes at least. What happens at one instant is so done before an answer comes, and a run does
// not depend on which goroutine was first.
const latency = time.Millisecond

// Errors of a [Link].
var (
	ErrDown    = errors.New("the service is away")
	ErrRefused = errors.New("the service refuses the call")
	ErrLost    = errors.New("the connection was lost before the answer")
	ErrDead    = errors.New("the process is dead")
)

// Link is the way from one process to the models of its services. An operation is named service/method. The zero value
// is a process that lives, with nothing wrong.
type Link struct {
	mu   sync.Mutex // guards the fields below
	dead bool
	down map[string]bool          // by service
	slow map[string]time.Duration // by service, before the call takes effect
	plan map[string][]Fault       // by operation; the next calls
	thaw chan struct{}            // not nil while the process is frozen
	late int                      // calls that were late
}

// Call does do, or not, and tells so, or not; what do writes is to be read only with a nil error. A frozen process goes on
// before or behind the effect when it thaws, however long ago ctx ended; what a dead process still tries has no effect.
func (l *Link) Call(ctx context.Context, op string, do func() error) error {
	l.gate()
	service, _, _ := strings.Cut(op, "/")
	l.mu.Lock()
	t := time.NewTimer(latency + l.slow[service])
	l.mu.Unlock()
	select {
	case <-t.C:
	case <-ctx.Done():
		t.Stop()
	}
	l.gate()
	if err := ctx.Err(); err != nil {
		return err
	}
	fault, err := l.next(service, op)
	if err != nil {
		return err
	}
	if fault == Late {
		l.mu.Lock()
		wait := late[l.late%len(late)]
		l.late++
		l.mu.Unlock()
		time.AfterFunc(wait, func() { _ = do() }) // nobody hears of it
		return ErrLost
	}
	err = do()
	l.gate()
	switch {
	case l.Dead():
		return ErrDead
	case fault == Lost:
		return ErrLost
	}
	return err
}

// next is the fault that awaits a call, -1 for none, or the error of a call without effect.
func (l *Link) next(service, op string) (Fault, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.dead:
		return 0, ErrDead
	case l.down[service]:
		return 0, ErrDown
	case len(l.plan[op]) == 0:
		return -1, nil
	}
	fault := l.plan[op][0]
	l.plan[op] = l.plan[op][1:]
	if fault == Refused {
		return 0, ErrRefused
	}
	return fault, nil
}

// Drop tells, and at once, whether a message is lost that nobody waits for.
func (l *Link) Drop(op string) bool {
	service, _, _ := strings.Cut(op, "/")
	fault, err := l.next(service, op)
	return err != nil || fault >= 0
}

func (l *Link) gate() {
	l.mu.Lock()
	thaw := l.thaw
	l.mu.Unlock()
	if thaw != nil {
		<-thaw
	}
}

// Call is [Link.Call] for what has a result.
func Call[T any](ctx context.Context, l *Link, op string, do func() (T, error)) (T, error) {
	answer := make(chan T, 1)
	err := l.Call(ctx, op, func() error {
		out, err := do()
		answer <- out
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return <-answer, nil
}

// Plan says how the next call of an operation ends that has no plan yet.
func (l *Link) Plan(op string, f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.plan == nil {
		l.plan = make(map[string][]Fault)
	}
	l.plan[op] = append(l.plan[op], f)
}

// Outage begins or ends one of a service.
func (l *Link) Outage(service string, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down == nil {
		l.down = make(map[string]bool)
	}
	l.down[service] = down
}

// Slow makes every call of a service take so long before its effect.
func (l *Link) Slow(service string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slow == nil {
		l.slow = make(map[string]time.Duration)
	}
	l.slow[service] = d
}

// Freeze stops the process where it talks to a service, as SIGSTOP does. Its timers go on, as they seem to when it thaws.
func (l *Link) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thaw == nil && !l.dead {
		l.thaw = make(chan struct{})
	}
}

// Thaw lets it go on.
func (l *Link) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thaw != nil {
		close(l.thaw)
		l.thaw = nil
	}
}

// Kill ends the process for its services: nothing that it does from now on has an effect.
func (l *Link) Kill() {
	l.mu.Lock()
	l.dead = true
	l.mu.Unlock()
	l.Thaw()
}

// Heal ends all faults but death.
func (l *Link) Heal() {
	l.mu.Lock()
	clear(l.down)
	clear(l.slow)
	clear(l.plan)
	l.mu.Unlock()
	l.Thaw()
}

// Dead tells whether the process was killed.
func (l *Link) Dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}
