package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
)

// queued is what the queue of ann at url holds.
func queued(t *testing.T, dir, url string) (texts []string) {
	t.Helper()
	_, left, err := client.OpenQueue(dir, url, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range left {
		texts = append(texts, m.Text)
	}
	return texts
}

// recorder is a server that accepts everything and notes it.
type recorder struct {
	*clientServer
	mu    sync.Mutex
	texts []string
	ids   []string
}

func (r *recorder) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.texts, "|")
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{}
	r.clientServer = newClientServer(t, func(_ int, f frame.Client) []string {
		switch f.Type {
		case frame.TypeHello:
			return []string{welcomeFrame(time.Minute)}
		case frame.TypeJoin:
			return []string{joinedFrame(f, 0, 0)}
		case frame.TypeSend:
			if f.Text == "refuse me" {
				return []string{fmt.Sprintf(`{"type":"error","id":%q,"code":"id_conflict","message":"used","retry":false}`, f.ID)}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.texts, r.ids = append(r.texts, f.Text), append(r.ids, f.ID)
			return []string{fmt.Sprintf(`{"type":"accepted","id":%q,"room":%q,"seq":%d,"sent_at":"2026-01-02T15:04:05.678Z"}`, f.ID, f.Room, len(r.texts))}
		}
		return nil
	})
	return r
}

func sendArgs(url, dir string, more ...string) []string {
	return append([]string{"send", "ops", "--server", url, "--name", "ann", "--queue-dir", dir}, more...)
}

func TestSendWaitsUntilItIsAccepted(t *testing.T) {
	t.Parallel()
	r, dir := newRecorder(t), t.TempDir()
	p := startProgram(t, sendArgs(r.url, dir, "on", "it", "--id", "x1", "--json")...)
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	var a frame.Accepted
	if err := json.Unmarshal([]byte(p.out.String()), &a); err != nil || a.ID != "x1" || a.Seq != 1 || a.Room != "ops" || a.Type != "accepted" {
		t.Errorf("got %q, %v", p.out, err)
	}
	if r.got() != "on it" || len(queued(t, dir, r.url)) != 0 {
		t.Errorf("the server got %q, the queue has %q", r.got(), queued(t, dir, r.url))
	}
}

func TestSendQueuesWhileTheServerIsAwayAndTheNextOneSendsItFirst(t *testing.T) {
	t.Parallel()
	r, dir := newRecorder(t), t.TempDir()
	// A host that nobody listens on any more stands for the server that is away: the queue belongs to a server's URL.
	gone := newRecorder(t)
	gone.close()
	for i := range 2 {
		p := startProgram(t, sendArgs(gone.url, dir, fmt.Sprint("early ", i), "--timeout", "30ms")...)
		if err := p.wait(); exitCode(err) != 1 {
			t.Fatalf("got %v, want exit code 1", err)
		}
		want := []string{"1 message queued; it goes out with the next gochat send of the same sender to this server", "2 messages queued; they go out with"}[i]
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, p.err)
		}
	}
	if got := queued(t, dir, gone.url); strings.Join(got, "|") != "early 0|early 1" {
		t.Fatalf("queue: got %q", got)
	}
	// The server is back, at another port.
	old := filepath.Join(dir, client.QueueFile(gone.url, "ann"))
	if err := os.Rename(old, filepath.Join(dir, client.QueueFile(r.url, "ann"))); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, sendArgs(r.url, dir, "late")...)
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	if got := r.got(); got != "early 0|early 1|late" {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(p.err.String(), "2 messages queued by earlier calls went out first") || p.out.String() != "✓ ops #3\n" {
		t.Errorf("got %q and\n%s", p.out, p.err)
	}
	if got := queued(t, dir, r.url); len(got) != 0 {
		t.Errorf("queue: got %q", got)
	}
}

func TestSendReadsLines(t *testing.T) {
	t.Parallel()
	r, dir := newRecorder(t), t.TempDir()
	p := startProgram(t, sendArgs(r.url, dir, "-")...)
	p.say("one\r\n\n  \ntwo\n" + strings.Repeat("x", 5000) + "\nrefuse me")
	if _, err := io.WriteString(p.in, "three"); err != nil {
		t.Fatal(err)
	}
	_ = p.in.Close()
	if err := p.wait(); exitCode(err) != 1 {
		t.Errorf("got %v, want exit code 1: two lines were not accepted", err)
	}
	if got := r.got(); got != "one|two|three" {
		t.Errorf("got %q", got)
	}
	for _, want := range []string{"line 5 not sent: text is at most 4096 bytes, this one has 5000", "not accepted: used (id "} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, p.err)
		}
	}
	if p.out.String() != "3 messages accepted\n" {
		t.Errorf("stdout: got %q", p.out)
	}
	if got := queued(t, dir, r.url); len(got) != 0 {
		t.Errorf("queue: got %q", got)
	}
}

func TestSendOfManyLinesKeepsOrderOverLostAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seqs := make(map[string]int) // id → seq, as a database would know
	var order []string
	answers := 0
	s := newClientServer(t, func(_ int, f frame.Client) []string {
		switch f.Type {
		case frame.TypeHello:
			return []string{welcomeFrame(time.Minute)}
		case frame.TypeJoin:
			return []string{joinedFrame(f, 0, 0)}
		case frame.TypeSend:
			if seqs[f.ID] == 0 {
				order = append(order, f.Text)
				seqs[f.ID] = len(order)
			}
			if answers++; answers%40 == 0 {
				return []string{"cut"} // committed, and the answer is lost
			}
			return []string{fmt.Sprintf(`{"type":"accepted","id":%q,"room":"ops","seq":%d,"sent_at":"2026-01-02T15:04:05.678Z"}`, f.ID, seqs[f.ID])}
		}
		return nil
	})
	p := startProgram(t, sendArgs(s.url, dir, "-", "--json", "--in-flight", "32")...)
	go func() {
		for i := range 100 {
			_, _ = fmt.Fprintf(p.in, "line %d\n", i)
		}
		_ = p.in.Close()
	}()
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(p.out.String()))
	for i := range 100 {
		var a frame.Accepted
		if err := dec.Decode(&a); err != nil || a.Seq != int64(i+1) {
			t.Fatalf("accepted %d: got %+v, %v", i, a, err)
		}
		if want := fmt.Sprint("line ", i); order[i] != want {
			t.Fatalf("the server got %q at place %d, want %q", order[i], i, want)
		}
	}
}

// A connection may be in some rooms only, and a join too many would be refused together with what waits for its room.
func TestSendToMoreRoomsThanAConnectionMayBeIn(t *testing.T) {
	t.Parallel()
	const rooms, allowed = 130, 100
	in, most, got := map[string]bool{}, 0, map[string]int{}
	s := newClientServer(t, func(_ int, f frame.Client) []string { // one connection: frame by frame
		switch f.Type {
		case frame.TypeHello:
			return []string{welcomeFrame(time.Minute)}
		case frame.TypeJoin:
			if len(in) >= allowed {
				return []string{string(frame.Encode(frame.Errorf(frame.Forbidden, f.ID, "too many rooms")))}
			}
			in[f.Room] = true
			most = max(most, len(in))
			return []string{joinedFrame(f, 0, 0)}
		case frame.TypeLeave:
			delete(in, f.Room)
		case frame.TypeSend:
			got[f.Room]++
			return []string{fmt.Sprintf(`{"type":"accepted","id":%q,"room":%q,"seq":%d,"sent_at":"2026-01-02T15:04:05.678Z"}`, f.ID, f.Room, got[f.Room])}
		}
		return nil
	})
	dir := t.TempDir()
	q, _, err := client.OpenQueue(dir, s.url, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * rooms {
		if err := q.Add(client.Queued{ID: fmt.Sprint("id", i), Room: fmt.Sprint("host-", i%rooms), Text: "x", At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	p := startProgram(t, sendArgs(s.url, dir, "one more")...)
	if err := p.wait(); err != nil {
		t.Fatalf("%v\n%s", err, p.err)
	}
	s.h.CloseClientConnections() // nothing is counted any more
	s.h.Close()
	for i := range rooms {
		if room := fmt.Sprint("host-", i); got[room] != 2 {
			t.Errorf("%s: got %d messages, want 2", room, got[room])
		}
	}
	if left := queued(t, dir, s.url); len(left) != 0 || most > allowed {
		t.Errorf("%d messages are left, %d rooms at once", len(left), most)
	}
}

func TestInterruptedSendLeavesItsMessagesQueued(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newClientServer(t, func(_ int, f frame.Client) []string {
		if f.Type == frame.TypeHello {
			return []string{welcomeFrame(time.Minute)}
		}
		return nil // the join is never answered
	})
	p := startProgram(t, sendArgs(s.url, dir, "-", "--timeout", "0")...)
	p.say("one")
	p.say("two")
	deadline := time.After(clientPatience)
	for tick := time.NewTicker(5 * time.Millisecond); len(queued(t, dir, s.url)) < 2; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing is queued")
		}
	}
	p.cancel()
	if err := p.wait(); exitCode(err) != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
	if got := queued(t, dir, s.url); strings.Join(got, "|") != "one|two" {
		t.Errorf("queue: got %q", got)
	}
	for _, want := range []string{"2 messages queued", "standard input was not read to its end"} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, p.err)
		}
	}
}

func TestSendRefusesWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		code int
	}{
		{[]string{}, 2}, {[]string{"ops", "--name", "ann"}, 2}, {[]string{"ops", "hi"}, 2}, {[]string{"a/b", "hi", "--name", "ann"}, 2},
		{[]string{"ops", "-", "--name", "ann", "--id", "x"}, 2}, {[]string{"ops", "hi", "--name", "ann", "--in-flight", "33"}, 2},
		{[]string{"ops", "hi", "--name", "ann", "--id", strings.Repeat("i", 65)}, 2}, {[]string{"ops", "hi", "--name", "ann", "--timeout", "-1s"}, 2},
		{[]string{"ops", strings.Repeat("x", 4097), "--name", "ann"}, 1}, {[]string{"ops", "a\xff", "--name", "ann"}, 1}, {[]string{"ops", " ", "--name", "ann"}, 1},
	} {
		p := startProgram(t, append([]string{"send"}, tc.args...)...)
		if err := p.wait(); exitCode(err) != tc.code {
			t.Errorf("send %.80q: got %v, want exit code %d", tc.args, err, tc.code)
		}
	}
}
