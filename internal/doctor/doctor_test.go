package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func always(o outcome) func(context.Context) outcome {
	return func(context.Context) outcome { return o }
}

// found runs an examination and returns its reports by name.
func found(t *testing.T, e *Examination) map[string]Report {
	t.Helper()
	all := make(map[string]Report)
	for _, r := range e.Run(t.Context(), func(Report) {}) {
		if _, twice := all[r.Name]; twice {
			t.Errorf("two checks are called %q", r.Name)
		}
		if (r.Status == Fail || r.Status == Warn) != (r.Remedy != "") {
			t.Errorf("%s: status %s with remedy %q", r.Name, r.Status, r.Remedy)
		}
		all[r.Name] = r
	}
	return all
}

// want sees that a check came to a status, with words in its detail and its remedy.
func want(t *testing.T, all map[string]Report, name string, status Status, detail, remedy string) {
	t.Helper()
	r, ok := all[name]
	if !ok {
		t.Errorf("no check is called %q", name)
	}
	if r.Status != status || !strings.Contains(r.Detail, detail) || !strings.Contains(r.Remedy, remedy) {
		t.Errorf("%s: got %s, %q → %q; want %s, %q → %q", name, r.Status, r.Detail, r.Remedy, status, detail, remedy)
	}
}

func TestReportsComeInOrderAndAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &Examination{within: checkWithin}
		closed := 0
		e.onClose(func() { closed++ })
		hangs := e.add("One", "hangs", func(ctx context.Context) outcome {
			<-ctx.Done()
			return failErr(errors.New("whatever it makes of it"), "wake it")
		})
		e.add("One", "needs it", always(ok("never seen")), hangs)
		late := newCheck("Two", "late", func(context.Context) outcome {
			time.Sleep(4 * time.Second)
			return warn("hurry", "late")
		})
		e.add("One", "needs the late one", always(ok("after it")), late)
		e.checks = append(e.checks, late)
		off := e.add("Two", "off", always(skip("it is off")))
		e.add("Two", "needs what is off", always(ok("never seen")), off)
		start := time.Now()
		var got []string
		reports := e.Run(t.Context(), func(r Report) {
			got = append(got, r.Name+" "+string(r.Status)+": "+r.Detail)
		})
		if d := time.Since(start); d != checkWithin {
			t.Errorf("took %s, want %s: the checks run at once, and each is bounded", d, checkWithin)
		}
		if diff := cmp.Diff([]string{
			"one hangs fail: no answer within 5s",
			"one needs it skipped: not checked, because of ✗ one hangs",
			"one needs the late one ok: after it",
			"two late warn: late",
			"two off skipped: not checked, because it is off",
			"two needs what is off skipped: not checked, because it is off",
		}, got); diff != "" {
			t.Error(diff)
		}
		if Failed(reports) != 1 || closed != 1 {
			t.Errorf("%d failed, closed %d times; want 1 and 1", Failed(reports), closed)
		}
	})
}

func TestAnEndedContextEndsTheChecks(t *testing.T) {
	t.Parallel()
	e := &Examination{within: time.Minute}
	e.add("One", "hangs", func(ctx context.Context) outcome {
		<-ctx.Done()
		return failErr(ctx.Err(), "")
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := e.Run(ctx, func(Report) {}); got[0].Status != Fail || !strings.Contains(got[0].Detail, "canceled") {
		t.Errorf("got %+v", got[0])
	}
}

func TestErrorsCarryTheirRemedy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]outcome{
		"no such host; is the name right?":     {Fail, "no such host", "is the name right?"},
		"a; b; do this":                        {Fail, "a; b", "do this"},
		"two\nlines with \x1b[31mcolour":       {Fail, "two lines with [31mcolour", "usual"},
		"it says\r\nmuch; and then: do\n that": {Fail, "it says much", "and then: do that"},
	} {
		if got := failErr(errors.New(text), "usual"); strings.Join(strings.Fields(got.detail), " ") != want.detail ||
			strings.Join(strings.Fields(got.remedy), " ") != want.remedy || got.status != Fail {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

func TestJudgements(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		got  outcome
		want Status
	}{
		"clock equal":          {skew(3*time.Millisecond, time.Millisecond, "x"), OK},
		"clock behind":         {skew(-5*time.Second, time.Millisecond, "x"), Warn},
		"clock not known well": {skew(5*time.Second, 4*time.Second, "x"), OK},
		"clock an hour ahead":  {skew(time.Hour, time.Second, "x"), Fail},
		"young row":            {waiting(1, time.Second, "x", "y"), OK},
		"older row":            {waiting(1, 20*time.Second, "x", "y"), Warn},
		"old row":              {waiting(9, 2*time.Minute, "x", "y"), Fail},
		"files few":            {openFiles(256), Fail},
		"files some":           {openFiles(4096), Warn},
		"files many":           {openFiles(1 << 20), OK},
		"disk full":            {disk("x", 1<<20, 1<<40), Fail},
		"disk nearly full":     {disk("x", 1<<30, 1<<40), Warn},
		"disk free":            {disk("x", 1<<35, 1<<40), OK},
	} {
		if tt.got.status != tt.want || (tt.want != OK) != (tt.got.remedy != "") {
			t.Errorf("%s: got %+v, want %s", name, tt.got, tt.want)
		}
	}
}

func TestACoarseLookSaysSo(t *testing.T) {
	t.Parallel()
	if got := skew(200*time.Millisecond, 502*time.Millisecond, "the chat room"); got.status != OK || got.detail != "the chat room and this machine agree, as far as its whole seconds tell" {
		t.Errorf("got %+v", got)
	}
	if got := skew(200*time.Millisecond, time.Millisecond, "the database"); got.detail != "the database and this machine agree to within 200ms" {
		t.Errorf("got %+v", got)
	}
}

func TestTitleHoldsNoPassword(t *testing.T) {
	t.Parallel()
	for _, database := range []string{
		"postgres://ann:geheim@db:5432/chat?sslmode=disable", "host=db user=ann password=geheim", "postgres://db/chat?password=geheim", "postgres://a:ge/heim@db/%zz",
	} {
		c := Config{DatabaseURL: database, BrokerURL: "amqp://ann:geheim@mq/v", Server: "wss://ann:geheim@chat/?token=geheim"}
		if got := c.Title(); strings.Contains(got, "geheim") || strings.Contains(got, "heim@") || strings.Contains(got, "ann") {
			t.Errorf("got %q", got)
		}
	}
	want := "gochat doctor: PostgreSQL db:5432/chat, RabbitMQ mq/v, chat room ws://localhost:8080"
	if got := (Config{DatabaseURL: "postgres://ann:x@db:5432/chat", BrokerURL: "amqp://mq/v", Server: "ws://localhost:8080"}).Title(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
