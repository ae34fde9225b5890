package main

import (
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// tailServer answers hello and the first join with the frames of a case, and later joins with an honest replay up to
// head, as a server would whose holes a client heals.
func tailServer(t *testing.T, heartbeat time.Duration, head int64, frames ...string) *clientServer {
	joins := 0
	return newClientServer(t, func(_ int, f frame.Client) []string {
		switch f.Type {
		case frame.TypeHello:
			return []string{welcomeFrame(heartbeat)}
		case frame.TypeJoin:
			if joins++; joins == 1 {
				out := make([]string, len(frames))
				for i, s := range frames {
					out[i] = strings.ReplaceAll(s, "JOIN", f.ID)
				}
				return out
			}
			out := []string{joinedFrame(f, head, head)}
			for n := *f.After + 1; n <= head; n++ {
				out = append(out, eventsFrame(n))
			}
			return out
		}
		return nil
	})
}

func joinedHead(head string) string {
	return `{"type":"joined","id":"JOIN","room":"ops","epoch":"e1","head":` + head + `,"stored":0,"members":[]}`
}

func TestTailVerifyPassesAnHonestServer(t *testing.T) {
	t.Parallel()
	s := tailServer(t, time.Minute, 6, joinedHead("3"), eventsFrame(1, 2), `{"type":"later","x":1}`, eventsFrame(3),
		`{"type":"heads","rooms":{"ops":3}}`, `{"type":"stored","room":"ops","seq":3}`, eventsFrame(4, 5, 6))
	p := startProgram(t, "tail", "ops", "--server", s.url, "--after", "0", "--until", "6", "--verify")
	if err := p.wait(); err != nil {
		t.Fatalf("got %v\n%s", err, p.err)
	}
	if got, want := strings.Count(p.out.String(), "\n"), 6; got != want {
		t.Errorf("got %d lines, want %d:\n%s", got, want, p.out)
	}
	if want := "verified ops: 6 events in order, #1 to #6, no gap, no duplicate\n"; p.err.String() != want {
		t.Errorf("stderr: got %q, want %q", p.err, want)
	}
}

func TestTailVerifyPassesAReplayAfterAReconnect(t *testing.T) {
	t.Parallel()
	s := newClientServer(t, func(conn int, f frame.Client) []string {
		switch {
		case f.Type == frame.TypeHello:
			return []string{welcomeFrame(time.Minute)}
		case conn == 1:
			return []string{joinedFrame(f, 5, 5), eventsFrame(1, 2), "cut"}
		case *f.After != 2:
			t.Errorf("after the reconnect: got after %d, want 2", *f.After)
		}
		return []string{joinedFrame(f, 5, 5), eventsFrame(3, 4, 5)}
	})
	p := startProgram(t, "tail", "ops", "--server", s.url, "--after", "0", "--until", "5", "--verify")
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"connection lost", "connected again", "5 events in order"} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, p.err)
		}
	}
}

// Each of these servers lies, and most would be healed by the client: without --verify nobody would see it.
func TestTailVerifyFailsOnALyingServer(t *testing.T) {
	t.Parallel()
	honestTo5 := eventsFrame(1, 2, 3, 4, 5)
	other := `{"type":"events","room":"ops","events":[` + eventJSON(3, "m2", "bob", "text") + `]}`
	for name, tc := range map[string]struct {
		after  string // empty: none
		frames []string
		want   string
	}{
		"a gap":                          {"0", []string{joinedHead("6"), eventsFrame(1, 2), eventsFrame(4, 5, 6)}, "gap: #4 came where #3 is due"},
		"a gap at the start":             {"0", []string{joinedHead("6"), eventsFrame(2, 3, 4, 5, 6)}, "gap: #2 came where #1 is due"},
		"a duplicate":                    {"0", []string{joinedHead("6"), eventsFrame(1, 2, 3), eventsFrame(3, 4, 5, 6)}, "duplicate: #3 came again"},
		"a duplicate in a frame":         {"0", []string{joinedHead("6"), eventsFrame(1, 2, 2, 3, 4, 5, 6)}, "duplicate: #2 came again"},
		"a wrong order":                  {"0", []string{joinedHead("6"), eventsFrame(1, 3, 2, 4, 5, 6)}, "wrong order: #3 came before #2"},
		"a wrong order over frames":      {"0", []string{joinedHead("6"), eventsFrame(1), eventsFrame(3), eventsFrame(2)}, "gap: #3 came where #2 is due"},
		"a head that is too high":        {"0", []string{joinedHead("9"), honestTo5}, "missing: the head is #9, but nothing follows #5"},
		"a head that is too high, tail":  {"", []string{joinedHead("100"), honestTo5}, "wrong order: #1 came where #51 is due"},
		"a head that is too low, tail":   {"", []string{joinedHead("55"), eventsFrame(20)}, "gap: #20 came where #6 is due"},
		"a head below what was asked":    {"4", []string{joinedHead("3"), eventsFrame(5, 6)}, "joined says head #3, but #4 is known"},
		"a negative head":                {"0", []string{joinedHead("-1"), honestTo5}, "impossible"},
		"a head that goes backwards":     {"0", []string{joinedHead("5"), honestTo5, `{"type":"heads","rooms":{"ops":4}}`, eventsFrame(6)}, "heads says #4"},
		"a missing tail":                 {"0", []string{joinedHead("6"), honestTo5}, "missing: the head is #6, but nothing follows #5"},
		"a missing tail, told by heads":  {"0", []string{joinedHead("5"), honestTo5, `{"type":"heads","rooms":{"ops":6}}`}, "missing: the head is #6, but nothing follows #5"},
		"an id twice":                    {"0", []string{joinedHead("3"), eventsFrame(1, 2), other}, "the same id twice: #2 and #3"},
		"events before joined":           {"0", []string{eventsFrame(1), joinedHead("6"), eventsFrame(1, 2, 3, 4, 5, 6)}, "events came before joined"},
		"joined for somebody else":       {"0", []string{`{"type":"joined","id":"x","room":"ops","head":6}`, eventsFrame(1)}, "nobody asked for"},
		"a reset":                        {"9", []string{`{"type":"joined","id":"JOIN","room":"ops","epoch":"e1","head":6,"reset":true}`, eventsFrame(1, 2, 3, 4, 5, 6)}, "reset the room"},
		"a frame that is no JSON":        {"0", []string{joinedHead("6"), `{"type":`}, "no JSON"},
		"another event under a seq told": {"0", []string{joinedHead("6"), eventsFrame(1, 2), `{"type":"events","room":"ops","events":[` + eventJSON(2, "z", "bob", "z") + `]}`}, "wrong order: #2 came where #3 is due"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := int64(6)
			if strings.HasPrefix(name, "a missing tail") || strings.HasPrefix(name, "a head that is too high") {
				head = 5 // it never gives more
			}
			heartbeat := time.Minute
			if strings.HasPrefix(tc.want, "missing") {
				heartbeat = testHeartbeat // two of them are waited for
			}
			s := tailServer(t, heartbeat, head, tc.frames...)
			args := []string{"tail", "ops", "--server", s.url, "--until", "6", "--verify"}
			if tc.after != "" {
				args = append(args, "--after", tc.after)
			}
			if tc.after == "9" || tc.after == "" {
				args = append(args, "--until", "60")
			}
			p := startProgram(t, args...)
			err := p.wait()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if exitCode(err) != 1 {
				t.Errorf("exit code: got %d, want 1", exitCode(err))
			}
			if strings.Contains(p.err.String(), "verified") {
				t.Errorf("it claims to have verified:\n%s", p.err)
			}
		})
	}
}

func TestVerifierDoesNotBlameTheServerForAnOutage(t *testing.T) {
	t.Parallel()
	now := time.Now()
	v := newVerifier("ops")
	observe := func(sent bool, raw string) {
		t.Helper()
		if err := v.observe(sent, []byte(raw), now); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(after int64) {
		observe(true, `{"type":"hello"}`)
		observe(false, welcomeFrame(testHeartbeat))
		j := frame.Client{Type: frame.TypeJoin, ID: "j", Room: "ops", After: &after}
		observe(true, string(frame.Encode(j)))
		observe(false, joinedFrame(j, 5, 5))
	}
	begin(0)
	observe(false, eventsFrame(1, 2))
	v.disconnected()
	now = now.Add(time.Hour)
	if err := v.stalled(now); err != nil {
		t.Errorf("without a connection: got %v", err)
	}
	begin(2)
	now = now.Add(2*testHeartbeat + time.Millisecond)
	if err := v.stalled(now); err == nil || !strings.Contains(err.Error(), "nothing follows #2") {
		t.Errorf("with a connection: got %v", err)
	}
}

func TestTailVerifyEndsOnInterrupt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		head  string
		until []string
		want  string // of the error; empty: a summary
	}{
		"all came":          {"3", nil, ""},
		"the head did not":  {"4", nil, "ended at #3, before the head #4"},
		"--until did not":   {"3", []string{"--until", "9"}, "ended at #3, before #9"},
		"no --until, later": {"2", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newClientServer(t, func(_ int, f frame.Client) []string {
				if f.Type == frame.TypeHello {
					return []string{welcomeFrame(time.Minute)}
				}
				return []string{strings.ReplaceAll(joinedHead(tc.head), "JOIN", f.ID), eventsFrame(1, 2, 3)}
			})
			p := startProgram(t, append([]string{"tail", "ops", "--server", s.url, "--after", "0", "--verify"}, tc.until...)...)
			p.out.await(t, "text 3")
			p.cancel()
			err := p.wait()
			switch {
			case tc.want == "" && (err != nil || !strings.Contains(p.err.String(), "verified ops: 3 events")):
				t.Errorf("got %v\n%s", err, p.err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestTailPrintsTheWireAndEndsAtUntil(t *testing.T) {
	t.Parallel()
	const event = `{"seq":1,"kind":"message","id":"a","from":"bob","sent_at":"2026-01-02T15:04:05.678Z","text":"<\u00e9>","later":[1,2]}`
	s := newClientServer(t, func(_ int, f frame.Client) []string {
		if f.Type == frame.TypeHello {
			return []string{welcomeFrame(time.Minute)}
		}
		return []string{joinedFrame(f, 2, 0), `{"type":"events","room":"ops","events":[` + event + `]}`, eventsFrame(2, 3)}
	})
	p := startProgram(t, "tail", "ops", "--server", s.url, "--until", "2", "--json")
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	if want := event + "\n" + eventJSON(2, "m2", "bob", "text 2") + "\n"; p.out.String() != want {
		t.Errorf("got:\n%swant:\n%s", p.out, want)
	}
}

func TestTailRefusesWrongUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"", "ops dev", "a/b", "ops --after -1", "ops --until 0", "ops --after 5 --until 5", "ops --server x"} {
		p := startProgram(t, append([]string{"tail"}, strings.Fields(args)...)...)
		if err := p.wait(); exitCode(err) != 2 {
			t.Errorf("tail %s: got %v, want exit code 2", args, err)
		}
	}
}

func TestTailWithoutVerifyIsHealedByTheClient(t *testing.T) {
	t.Parallel()
	s := tailServer(t, time.Minute, 6, joinedHead("6"), eventsFrame(1, 2), eventsFrame(4, 5, 6))
	p := startProgram(t, "tail", "ops", "--server", s.url, "--after", "0", "--until", "6")
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(p.out.String(), "\n"); got != 6 {
		t.Errorf("got %d lines, want 6:\n%s", got, p.out)
	}
}
