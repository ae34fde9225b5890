package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/flightrecorder"
)

// What a person reads of the steps, and of what nobody knows any more.
func TestTraceSaysWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	accepted := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	at := func(ms int) time.Time { return accepted.Add(time.Duration(ms) * time.Millisecond) }
	ref := func(ms int) *time.Time { t := at(ms); return &t }
	step := func(kind, outcome, reason string, begun int, ended *time.Time) wayStep {
		return wayStep{URL: "http://a:1", Service: "up", Step: flightrecorder.Step{Kind: kind, Outcome: outcome, Reason: reason, Begun: at(begun), Ended: ended}}
	}
	const published, delivered = flightrecorder.KindPublishing, flightrecorder.KindDelivery
	retried := step(delivered, "stored", "", 40, ref(50))
	retried.Number, retried.Try = 1, 2
	again := step(delivered, "stored", "", 60, ref(70))
	again.Number, again.Duplicate = 2, true
	for name, tt := range map[string]struct {
		w    way
		want string
	}{
		"nobody to ask": {
			way{Stored: ref(50), Services: []service{{URL: "http://a:1", Unknown: "nothing listens there", quiet: true}}}, `
  published  not known: no chat room could be asked; --admin names them; the outbox's row is gone
  delivered  not known: no persister could be asked; --admin names them
`,
		},
		"named, and not there": {
			way{Stored: ref(50), Services: []service{{URL: "http://a:1", Unknown: "nothing\nlistens"}, {URL: "http://b:1", Name: "persister", Since: ref(-9)}}}, `
  published  not known: no chat room could be asked; --admin names them; the outbox's row is gone
  delivered  not known to the 1 service that could be asked; --admin names all of them
  asked      http://a:1 tells nothing: nothing listens
`,
		},
		"forgotten": {
			way{Stored: ref(50), Services: []service{{URL: "http://a:1", Name: "up", Since: ref(9)}, {URL: "http://b:1", Name: "up", Since: ref(-9)}}}, `
  published  not known: older than what the services remember; the outbox's row is gone
  delivered  not known: older than what the services remember
  asked      up at http://a:1 remembers since 2026-01-02T15:04:05.009Z only
`,
		},
		"not published": {way{InOutbox: true, Committed: ref(1)}, "\n  published  not yet\n"},
		"all": {
			way{InOutbox: true, Committed: ref(1), Published: ref(20), Attempts: 1, Stored: ref(45), Steps: []wayStep{
				step(published, "failed", "nobody", 5, ref(9)), step(published, "confirmed", "", 10, ref(30)),
				step(delivered, "failed", "outage", 15, ref(25)), retried, again, step(published, "under way", "", 80, nil),
			}}, `
  published  2026-01-02T15:04:05.005Z +5ms  (up at http://a:1)
  failed     2026-01-02T15:04:05.009Z +9ms  (not published: nobody)
  published  2026-01-02T15:04:05.010Z +10ms  (up at http://a:1)
  delivered  2026-01-02T15:04:05.015Z +15ms  (up at http://a:1)
  failed     2026-01-02T15:04:05.025Z +25ms  (not stored: outage)
  confirmed  2026-01-02T15:04:05.030Z +30ms
  retried    2026-01-02T15:04:05.040Z +40ms  (up at http://a:1, try 2)
  handled    2026-01-02T15:04:05.050Z +50ms
  delivered  2026-01-02T15:04:05.060Z +60ms  (up at http://a:1, delivery 2 of its message)
  handled    2026-01-02T15:04:05.070Z +70ms  (it was stored already)
  published  2026-01-02T15:04:05.080Z +80ms  (up at http://a:1, under way)
`,
		},
	} {
		tt.w.Accepted = &accepted
		var got strings.Builder
		got.WriteByte('\n')
		for line := range strings.Lines(tt.w.text()) {
			switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word {
			case "message", "accepted", "outbox", "stored", "room", "dead":
			default:
				got.WriteString(line)
			}
		}
		if got.String() != tt.want {
			t.Errorf("%s: got%swant%s", name, got.String(), tt.want)
		}
	}
}

func TestDuplicateDeliveries(t *testing.T) {
	t.Parallel()
	stored := time.Date(2026, 1, 2, 15, 4, 5, 300, time.UTC)
	delivery := func(ms, number int, outcome string) wayStep {
		s := wayStep{Step: flightrecorder.Step{Kind: flightrecorder.KindDelivery, Begun: stored.Add(time.Duration(ms) * time.Millisecond), Outcome: outcome, Number: number}}
		return s
	}
	for name, tt := range map[string]struct {
		steps []wayStep
		want  []bool
	}{
		"the first, by a clock that is ahead":  {[]wayStep{delivery(5, 1, "stored")}, []bool{false}},
		"published twice":                      {[]wayStep{delivery(-5, 1, "stored"), delivery(5, 1, "stored")}, []bool{false, true}},
		"both before":                          {[]wayStep{delivery(-5, 1, "stored"), delivery(-4, 1, "stored")}, []bool{false, false}},
		"delivered to somebody who is gone":    {[]wayStep{delivery(5, 2, "stored")}, []bool{true}},
		"delivered again before it was stored": {[]wayStep{delivery(-5, 2, "stored")}, []bool{false}},
		"what failed stored nothing":           {[]wayStep{delivery(4, 1, "failed"), delivery(5, 1, "stored")}, []bool{false, false}},
	} {
		w := way{Stored: &stored, Steps: tt.steps}
		w.markDuplicates()
		for i, s := range w.Steps {
			if s.Duplicate != tt.want[i] {
				t.Errorf("%s: step %d: got %t", name, i, s.Duplicate)
			}
		}
	}
}

// Passwords in URLs are kept out of what is told, and only what nobody named is quiet.
func TestAskedServices(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	strange := httptest.NewServer(http.NotFoundHandler())
	defer strange.Close()
	mute := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer mute.Close()
	secret := strings.Replace(gone.URL, "//", "//ann:geheim@", 1)
	for _, named := range []bool{true, false} {
		a := &asker{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, bases: []string{secret, strange.URL, mute.URL}, named: named}
		w := &way{Room: "ops", Seq: 1}
		a.addSteps(t.Context(), "", []*way{w})
		if len(w.Services) != 3 || w.Services[0].Unknown != "nothing listens there" || w.Services[2].Unknown != "EOF" || !strings.Contains(w.Services[1].Unknown, "404") {
			t.Fatalf("got %+v", w.Services)
		}
		out := w.text()
		if told := strings.Contains(out, "nothing listens there"); told != named || !strings.Contains(out, strange.URL+" tells nothing: ") || strings.Contains(out, "geheim") {
			t.Errorf("named %t: got %s", named, out)
		}
	}
	for text, want := range map[string]string{"http://a:1,https://b": "", "http://a:1,b:2": "number 2 ", "ftp://a": "number 1 "} {
		err := adminURLs(text)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
