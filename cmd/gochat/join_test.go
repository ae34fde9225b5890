package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// chatServer accepts what is sent after head events of bob, stores it at once, and knows ann and bob.
func chatServer(t *testing.T, head int64) *clientServer {
	return newClientServer(t, func(_ int, f frame.Client) []string {
		switch f.Type {
		case frame.TypeHello:
			return []string{welcomeFrame(time.Minute)}
		case frame.TypeJoin:
			out := []string{joinedFrame(f, head, head)}
			for n := max(0, head-frame.DefaultTail) + 1; n <= head; n++ {
				out = append(out, eventsFrame(n))
			}
			return append(out, `{"type":"presence","room":"ops","joined":["ann","eve\u001b[2J"],"count":3}`,
				`{"type":"presence","room":"ops","left":["bob"],"count":2}`)
		case frame.TypeHistory:
			return []string{fmt.Sprintf(`{"type":"events","id":%q,"room":%q,"complete":false,"events":[%s]}`,
				f.ID, f.Room, eventJSON(*f.Before-1, "old", "bob", fmt.Sprintf("old, limit %d", *f.Limit)))}
		case frame.TypeSend:
			if strings.HasPrefix(f.Text, "bad") {
				return []string{fmt.Sprintf(`{"type":"error","id":%q,"code":"forbidden","message":"not here","retry":false}`, f.ID)}
			}
			head++
			return []string{
				fmt.Sprintf(`{"type":"accepted","id":%q,"room":%q,"seq":%d,"sent_at":"2026-01-02T15:04:05.678Z"}`, f.ID, f.Room, head),
				fmt.Sprintf(`{"type":"events","room":%q,"events":[%s]}`, f.Room, eventJSON(head, f.ID, "ann", f.Text)),
				fmt.Sprintf(`{"type":"stored","room":%q,"seq":%d}`, f.Room, head),
			}
		}
		return nil
	})
}

func TestJoinTalks(t *testing.T) {
	t.Parallel()
	s := chatServer(t, 60)
	p := startProgram(t, "join", "ops", "--server", s.url, "--name", "ann")
	p.out.await(t, "bob: text 60")
	for _, want := range []string{"you are ann in ops; here: ann, bob; /help", "bob: text 11"} {
		p.out.await(t, want)
	}
	p.out.await(t, "→ eve\uFFFD[2J joined")
	p.out.await(t, "← bob left")
	p.say("on it")
	p.out.await(t, "ann: on it ✓ #61")
	p.out.await(t, "✓✓ stored #61")
	p.say("bad word")
	p.out.await(t, "✗ not accepted: not here")
	p.say("/who")
	p.out.await(t, "here: ann, eve\uFFFD[2J\n")
	p.say("/history 3")
	p.out.await(t, "earlier, #10:\n2026-01-02 ")
	p.out.await(t, "bob: old, limit 3")
	p.say("/history 0")
	p.out.await(t, "/history takes a number from 1 to 200")
	p.say("/dance")
	p.out.await(t, "no such command: /dance\n/who")
	p.say("//help is a command")
	p.out.await(t, "ann: /help is a command ✓ #62")
	p.say(strings.Repeat("é", 2049))
	p.out.await(t, "not sent: a message has at most 4096 bytes, this one has 4098")
	p.say(strings.Repeat("x", 100_000))
	p.out.await(t, "this one has 100000")
	p.say("broken \xff")
	p.out.await(t, "not sent: text is not valid UTF-8")
	p.say("   ")
	p.say("/quit")
	if err := p.wait(); err != nil {
		t.Errorf("got %v, want a polite end", err)
	}
	if strings.ContainsRune(p.out.String(), '\x1b') {
		t.Error("an escape sequence reached the terminal")
	}
}

func TestJoinAsksForANameUntilItIsOne(t *testing.T) {
	t.Parallel()
	s := chatServer(t, 0)
	p := startProgram(t, "join", "ops", "--server", s.url)
	p.out.await(t, "Your name: ")
	p.say("")
	p.out.await(t, "name must be 1 to 50 characters")
	p.say(strings.Repeat("n", 51))
	p.say("  ann  ")
	p.out.await(t, "you are ann in ops")
	if got := strings.Count(p.out.String(), "Your name: "); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}
	p.cancel() // Ctrl-C
	if err := p.wait(); err != nil {
		t.Errorf("Ctrl-C: got %v, want a polite end", err)
	}
}

func TestJoinReconnectsVisiblyAndSaysWhatWasTypedMeanwhile(t *testing.T) {
	t.Parallel()
	head, sent := int64(0), ""
	s := newClientServer(t, func(conn int, f frame.Client) []string {
		switch f.Type {
		case frame.TypeHello:
			return []string{welcomeFrame(time.Minute)}
		case frame.TypeJoin:
			return []string{joinedFrame(f, head, head)}
		case frame.TypeSend:
			if conn == 1 { // committed, and the answer is lost
				sent = f.ID
				return []string{"cut"}
			}
			if f.ID != sent {
				t.Errorf("got id %s, want %s again", f.ID, sent)
			}
			head++
			return []string{
				fmt.Sprintf(`{"type":"accepted","id":%q,"room":"ops","seq":1,"sent_at":"2026-01-02T15:04:05.678Z","duplicate":true}`, f.ID),
				`{"type":"events","room":"ops","events":[` + eventJSON(1, f.ID, "ann", f.Text) + `]}`,
			}
		}
		return nil
	})
	p := startProgram(t, "join", "ops", "--server", s.url, "--name", "ann")
	p.out.await(t, "you are ann")
	p.say("on it")
	p.out.await(t, "connection lost (")
	p.out.await(t, "connected again")
	p.out.await(t, "ann: on it ✓ #1")
	_ = p.in.Close() // Ctrl-D
	if err := p.wait(); err != nil {
		t.Errorf("end of input: got %v, want a polite end", err)
	}
	if got := strings.Count(p.out.String(), "you are ann"); got != 1 {
		t.Errorf("greeted %d times", got)
	}
}

// What was said last is accepted before an interrupt ends the program, or it is told.
func TestJoinWaitsForItsLastWordsWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	for name, mute := range map[string]bool{"accepted late": false, "the server leaves": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, interrupted := make(chan struct{}), make(chan struct{})
			s := newClientServer(t, func(_ int, f frame.Client) []string {
				switch f.Type {
				case frame.TypeHello:
					return []string{welcomeFrame(time.Minute)}
				case frame.TypeJoin:
					return []string{joinedFrame(f, 0, 0)}
				case frame.TypeSend:
					close(said)
					<-interrupted
					if mute {
						return []string{`{"type":"bye","code":4102,"message":"banned"}`}
					}
					return []string{
						fmt.Sprintf(`{"type":"accepted","id":%q,"room":"ops","seq":1,"sent_at":"2026-01-02T15:04:05.678Z"}`, f.ID),
						`{"type":"events","room":"ops","events":[` + eventJSON(1, f.ID, "ann", "important") + `]}`,
					}
				}
				return nil
			})
			p := startProgram(t, "join", "ops", "--name", "ann", "--server", s.url)
			p.out.await(t, "you are ann")
			p.say("important")
			<-said
			p.cancel()
			p.out.await(t, "waiting until 1 message is accepted; Ctrl-C ends at once")
			close(interrupted)
			if err := p.wait(); (err != nil) != mute {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestJoinTellsWhyTheServerSendsItAway(t *testing.T) {
	t.Parallel()
	s := newClientServer(t, func(int, frame.Client) []string {
		return []string{`{"type":"bye","code":4102,"message":"banned"}`, "cut"}
	})
	p := startProgram(t, "join", "--server", s.url, "--name", "ann")
	if err := p.wait(); exitCode(err) != 1 || !strings.Contains(err.Error(), "banned (code 4102)") {
		t.Errorf("got %v", err)
	}
}

func TestJoinRefusesWrongUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"a", "b"}, {"a/b"}, {"--name", " ann"}, {"--name", strings.Repeat("n", 51)}, {"--server", "localhost:8080"}, {"--ca"},
	} {
		p := startProgram(t, append([]string{"join"}, args...)...)
		if err := p.wait(); exitCode(err) != 2 {
			t.Errorf("join %q: got %v, want exit code 2", args, err)
		}
	}
}

func TestTextsOfOthersAreMadeSafe(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 15, 4, 0, 0, time.UTC)
	e := frame.Event{Seq: 1, Kind: "message", From: "b\x1b]0;x\x07ob", Text: "a\x1b[31m\u009b1m\u202e\u2028z\r\n15:05 ann: fake\ttab 👩‍💻", SentAt: at}
	want := "15:04 b\uFFFD]0;x\uFFFDob: a\uFFFD[31m\uFFFD1m\uFFFD\uFFFDz\n    | 15:05 ann: fake tab 👩‍💻"
	if got := eventLine(e, at.Add(time.Hour)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := eventLine(frame.Event{Kind: "edit", From: "bob", SentAt: at}, at.AddDate(0, 0, 1)); got != "2026-01-02 15:04 bob: (edit)" {
		t.Errorf("got %q", got)
	}
}
