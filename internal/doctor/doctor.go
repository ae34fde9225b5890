// Package doctor examines an installation: its databases, its broker, what waits, its services and the machine, split or
// embedded. It promises: every check has a bound in time, and what fails comes with its remedy; looking changes nothing
// that stays, so that it may run beside the services at any time; no text holds a password. Independent checks run at
// once and are told in a fixed order. The goroutines of an examination have ended when its Run returns.
//
// Limits: it sees this machine, and what the services' own addresses show. Files, limits and disks of other machines it
// cannot see.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is what a check came to.
type Status string

// The statuses. Only Fail is worth an alarm; Warn is for a person to judge.
const (
	OK      Status = "ok"
	Warn    Status = "warn"
	Fail    Status = "fail"
	Skipped Status = "skipped" // not checked; the detail says why
)

// Report is the outcome of one check.
type Report struct {
	Section string `json:"-"`
	Check   string `json:"-"`    // unique in its section
	Name    string `json:"name"` // section and check, lower case
	Status  Status `json:"status"`
	Detail  string `json:"detail"`
	Remedy  string `json:"remedy"` // empty unless Status is Fail or Warn
}

// checkWithin bounds one check. Its clients are told less where they have a time-out of their own.
const checkWithin = 5 * time.Second

var errSlow = fmt.Errorf("no answer within %s", checkWithin)

// Examination is a list of checks over one installation. It is run once.
type Examination struct {
	checks []*check
	after  []func() // closes what the checks opened, last first
	within time.Duration
}

// check is one line of the page. A check that needs others runs after them, and is skipped unless all of them came to
// OK or Warn; so it may use what they opened.
type check struct {
	section, name string
	needs         []*check
	run           func(context.Context) outcome

	done chan struct{} // closed when got is written
	got  outcome
}

// outcome is a report without its place.
type outcome struct {
	status         Status
	detail, remedy string
}

func ok(format string, a ...any) outcome {
	return outcome{status: OK, detail: fmt.Sprintf(format, a...)}
}

func warn(remedy, format string, a ...any) outcome {
	return outcome{Warn, fmt.Sprintf(format, a...), remedy}
}

func fail(remedy, format string, a ...any) outcome {
	return outcome{Fail, fmt.Sprintf(format, a...), remedy}
}

func skip(format string, a ...any) outcome {
	return outcome{status: Skipped, detail: "not checked, because " + fmt.Sprintf(format, a...)}
}

// elsewhere is the remedy of what fails for a reason of its own.
const elsewhere = "see the server's log, and what the user in its URL may do"

// failErr tells an error. The errors of this project name what to do after their last "; "; where one does not, remedy
// stands, or else [elsewhere].
func failErr(err error, remedy string) outcome {
	text := oneLine(err.Error())
	if i := strings.LastIndex(text, "; "); i >= 0 {
		return outcome{Fail, text[:i], text[i+2:]}
	}
	return outcome{Fail, text, cmp.Or(remedy, elsewhere)}
}

// add appends a check. Its place in the list is its place on the page.
func (e *Examination) add(section, name string, run func(context.Context) outcome, needs ...*check) *check {
	c := newCheck(section, name, run, needs...)
	e.checks = append(e.checks, c)
	return c
}

// newCheck makes a check that others may need before it has a place.
func newCheck(section, name string, run func(context.Context) outcome, needs ...*check) *check {
	return &check{section: section, name: name, run: run, needs: needs, done: make(chan struct{})}
}

// onClose keeps what is to be closed when all checks have ended.
func (e *Examination) onClose(f func()) { e.after = append(e.after, f) }

// width is that of the longest name of a check, in characters.
func (e *Examination) width() int {
	n := 0
	for _, c := range e.checks {
		n = max(n, len(c.name))
	}
	return n
}

// Run does the checks and tells each report as soon as those before it were told, from the calling goroutine. When ctx
// ends, what is left fails with its cause. It returns all reports.
func (e *Examination) Run(ctx context.Context, tell func(Report)) []Report {
	var all sync.WaitGroup
	for _, c := range e.checks {
		all.Go(func() {
			defer close(c.done)
			c.got = c.examine(ctx, e.within)
		})
	}
	reports := make([]Report, 0, len(e.checks))
	for _, c := range e.checks {
		<-c.done
		r := Report{
			Section: c.section, Check: c.name, Name: strings.ToLower(c.section) + " " + c.name,
			Status: c.got.status, Detail: c.got.detail, Remedy: c.got.remedy,
		}
		tell(r)
		reports = append(reports, r)
	}
	all.Wait()
	for _, f := range slices.Backward(e.after) {
		f()
	}
	return reports
}

func (c *check) examine(ctx context.Context, within time.Duration) outcome {
	for _, need := range c.needs {
		<-need.done
	}
	for _, need := range c.needs {
		if need.got.status == Fail {
			return skip("of ✗ %s %s", strings.ToLower(need.section), need.name)
		}
		if need.got.status == Skipped { // for the same reason
			return outcome{status: Skipped, detail: need.got.detail}
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, errSlow)
	defer cancel()
	got := c.run(ctx)
	if got.status == Fail && ctx.Err() != nil { // whatever it made of the end of its context
		return outcome{Fail, oneLine(context.Cause(ctx).Error()), got.remedy}
	}
	return got
}

// Failed counts the reports that are Fail.
func Failed(reports []Report) int {
	n := 0
	for _, r := range reports {
		if r.Status == Fail {
			n++
		}
	}
	return n
}

// errorsAs is errors.As for a type that is named once.
func errorsAs[T error](err error) (T, bool) {
	var e T
	ok := errors.As(err, &e)
	return e, ok
}

// oneLine keeps a text of somebody else on its line, without what could change a terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }), " ")
}
