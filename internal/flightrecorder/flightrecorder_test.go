package flightrecorder

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
	"unsafe"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seqs begins a step for each seq of a room, from..to.
func (r *Recorder) seqs(kind Kind, room string, from, to int64) Span {
	return r.Begin(kind, Turn{Number: 1, Try: 1}, int(to-from+1), func(i int) (string, int64) { return room, from + int64(i) })
}

func all(o Outcome, err error) func(int) (Outcome, error) {
	return func(int) (Outcome, error) { return o, err }
}

func outcomes(a Answer) string {
	var out []string
	for _, s := range a.Steps {
		out = append(out, s.Kind+" "+s.Outcome)
	}
	return strings.Join(out, ", ")
}

func TestTheStepsOfAnEvent(t *testing.T) {
	t.Parallel()
	r := New("up")
	r.Belongs("here")
	first := r.seqs(Publishing, "ops", 1, 3)
	first.End(all(Failed, errors.New("no queue takes the message")))
	second := r.seqs(Publishing, "ops", 1, 3)
	delivered := r.Begin(Delivery, Turn{Number: 2, Try: 300}, 2, func(i int) (string, int64) { return "ops", int64(i) + 2 })
	if got, want := outcomes(r.Find("ops", 2)), "publishing failed, publishing under way, delivery under way"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	second.End(all(Done, nil))
	delivered.End(func(i int) (Outcome, error) {
		if i == 0 {
			return Refused, errors.New("another event is stored")
		}
		return Done, nil
	})
	a := r.Find("ops", 2)
	if got, want := outcomes(a), "publishing failed, publishing confirmed, delivery refused"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	if got, want := outcomes(r.Find("ops", 3)), "publishing failed, publishing confirmed, delivery stored"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if a.Service != "up" || a.Installation != "here" || a.Process == "" || a.Steps[0].Reason != "no queue takes the message" ||
		a.Steps[1].Reason != "" || a.Steps[2].Reason != "another event is stored" || a.Steps[2].Number != 2 || a.Steps[2].Try != 255 {
		t.Errorf("got %+v", a)
	}
	for i, s := range a.Steps {
		if s.Begun.Before(a.Since.Truncate(1000)) || s.Ended == nil || s.Ended.Before(s.Begun) || i > 0 && s.Begun.Before(a.Steps[i-1].Begun) {
			t.Errorf("step %d has times out of order: %+v since %s", i, s, a.Since)
		}
	}
	for _, other := range []struct {
		room string
		seq  int64
	}{{"ops", 4}, {"op", 2}, {"ops2", 2}} {
		if a := r.Find(other.room, other.seq); len(a.Steps) != 0 {
			t.Errorf("%v: got %+v, want nothing", other, a.Steps)
		}
	}
}

// What is older than the ring is forgotten, is said to be, and cannot be written into any more.
func TestItForgetsTheOldest(t *testing.T) {
	t.Parallel()
	r := newOf("chatroom", 8)
	since := r.Find("a", 1).Since
	old := r.seqs(Publishing, "a", 1, 5)
	half := r.seqs(Publishing, "b", 1, 3)
	if got := r.Find("a", 1); len(got.Steps) != 1 || !got.Since.Equal(since) {
		t.Errorf("a full ring has forgotten something: %+v", got)
	}
	r.seqs(Publishing, "c", 1, 6).End(all(Done, nil))
	old.End(all(Failed, errors.New("forgotten")))
	half.End(all(Failed, errors.New("half forgotten")))
	for seq := range int64(6) {
		if got := outcomes(r.Find("c", seq+1)); got != "publishing confirmed" {
			t.Errorf("c %d: got %q", seq+1, got)
		}
		if got := r.Find("a", seq+1); len(got.Steps) != 0 || !got.Since.After(since) {
			t.Errorf("a %d: got %+v, want it forgotten", seq+1, got)
		}
	}
	if got := outcomes(r.Find("b", 1)) + outcomes(r.Find("b", 2)) + outcomes(r.Find("b", 3)); got != "publishing failedpublishing failed" {
		t.Errorf("b: got %q, want the last two failed", got)
	}
	r.seqs(Delivery, "d", 1, 20).End(all(Done, nil)) // longer than the ring
	for seq := range int64(20) {
		if got := len(r.Find("d", seq+1).Steps); (got == 1) != (seq >= 12) {
			t.Errorf("d %d: got %d steps", seq+1, got)
		}
	}
}

func TestReasonsAreBounded(t *testing.T) {
	t.Parallel()
	r := New("persister")
	fail := func(seq int64, reason string) {
		r.seqs(Delivery, "ops", seq, seq).End(all(Failed, errors.New(reason)))
	}
	reason := func(seq int64) string { return r.Find("ops", seq).Steps[0].Reason }
	fail(1, "a"+strings.Repeat("ä", reasonBytes)) // its cut is inside of one
	if got := reason(1); len(got) > reasonBytes+len("…") || !utf8.ValidString(got) || !strings.HasSuffix(got, "ä…") {
		t.Errorf("got %d bytes: %q", len(got), got)
	}
	for seq := range int64(10_000) { // one reason over and over is one
		fail(seq+2, "outage")
	}
	for seq := range int64(reasons - 2) {
		fail(seq+20_000, fmt.Sprint("reason ", seq))
	}
	if !strings.HasPrefix(reason(1), "aä") || reason(2) != "outage" || reason(20_000) != "reason 0" {
		t.Errorf("got %q, %q, %q", reason(1), reason(2), reason(20_000))
	}
	fail(30_000, "one more")
	if got := reason(1); got != "the reason is not remembered any more" {
		t.Errorf("got %q", got)
	}
	if reason(2) != "outage" || reason(30_000) != "one more" {
		t.Errorf("got %q, %q", reason(2), reason(30_000))
	}
}

// Many windows at once, none of which is forgotten: each finds its own.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const writers, windows, window = 8, 64, 100
	r := New("up")
	start := make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			<-start
			room := fmt.Sprint("room", w)
			for n := range int64(windows) {
				span := r.seqs(Publishing, room, n*window+1, (n+1)*window)
				if got := outcomes(r.Find(room, n*window+1)); got != "publishing under way" {
					t.Errorf("%s window %d: got %q", room, n, got)
				}
				span.End(func(i int) (Outcome, error) {
					if i%2 == 1 {
						return Failed, errors.New(room)
					}
					return Done, nil
				})
			}
		})
	}
	close(start)
	wg.Wait()
	for w := range writers {
		room := fmt.Sprint("room", w)
		for _, seq := range []int64{1, window, window + 1, windows * window} {
			steps := r.Find(room, seq).Steps
			if want := map[bool]string{true: OutcomeConfirmed, false: OutcomeFailed}[seq%2 == 1]; len(steps) != 1 || steps[0].Outcome != want {
				t.Errorf("%s %d: got %+v, want %s", room, seq, steps, want)
			}
		}
	}
}

func TestWhatItCosts(t *testing.T) {
	if got := unsafe.Sizeof(step{}) * Remembered; got != 4<<20 {
		t.Errorf("the steps take %d bytes, want 4 MiB", got)
	}
	r := New("up")
	if got := testing.AllocsPerRun(100, func() { r.seqs(Publishing, "ops", 1, 1024).End(all(Done, nil)) }); got != 0 {
		t.Errorf("a window allocates %v times", got)
	}
}

func TestAskingOverHTTP(t *testing.T) {
	t.Parallel()
	r := New("chatroom")
	r.seqs(Publishing, "ops/é &", 44, 44).End(all(Done, nil))
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, r.Handler())
	mux.HandleFunc("GET /other/trace", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	server := httptest.NewServer(mux)
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	a, err := Ask(t.Context(), client, server.URL+"/", "ops/é &", 44)
	if err != nil || outcomes(a) != "publishing confirmed" || a.Process != r.process || !a.Steps[0].Begun.Equal(r.Find("ops/é &", 44).Steps[0].Begun) {
		t.Errorf("got %+v, %v", a, err)
	}
	if a, err := Ask(t.Context(), client, server.URL, "ops", 1); err != nil || a.Steps == nil || len(a.Steps) != 0 {
		t.Errorf("an unknown event: got %+v, %v", a, err)
	}
	for _, base := range []string{server.URL + "/nowhere", server.URL + "/other"} {
		if _, err := Ask(t.Context(), client, base, "ops", 1); err == nil || !strings.Contains(err.Error(), "gochat service") {
			t.Errorf("%s: got %v", base, err)
		}
	}
	for query, want := range map[string]int{
		"event_id=ops/%C3%A9%20%26/44": 200, "room=ops&seq=1": 200,
		"": 400, "room=ops": 400, "seq=1": 400, "event_id=ops": 400, "event_id=/1": 400, "event_id=1": 400, "room=ops&seq=0": 400, "room=ops&seq=x": 400,
	} {
		res, err := client.Get(server.URL + Path + "?" + query)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", query, res.StatusCode, want)
		}
	}
}

// BenchmarkRecord is what begin and end of a window cost, with 64 rooms in it; ns/event is the figure to look at.
func BenchmarkRecord(b *testing.B) {
	var names [64]string
	for i := range names {
		names[i] = fmt.Sprint("a-room-of-usual-length-", i)
	}
	for _, window := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("window of ", window), func(b *testing.B) {
			r := New("up")
			b.ReportAllocs()
			for b.Loop() {
				r.Begin(Publishing, Turn{}, window, func(i int) (string, int64) { return names[i%64], int64(i) }).End(all(Done, nil))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*window), "ns/event")
		})
	}
}

// BenchmarkFind looks through a full recorder, which writers wait for.
func BenchmarkFind(b *testing.B) {
	r := New("up")
	r.seqs(Publishing, "ops", 1, Remembered)
	for b.Loop() {
		r.Find("ops", 1)
	}
}
