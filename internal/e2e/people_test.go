package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

// person is somebody at `gochat join`, without a terminal.
type person struct {
	tb    testing.TB
	in    io.WriteCloser
	cmd   *exec.Cmd
	lines chan string // closed at the end of the output
	seen  []string
}

func sitDown(tb testing.TB, args ...string) *person {
	tb.Helper()
	cmd := exec.Command(program, append([]string{"join"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir()}
	cmd.Dir = tb.TempDir()
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &person{tb: tb, in: in, cmd: cmd, lines: make(chan string, 1000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(p.lines)
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			p.lines <- sc.Text()
		}
	})
	wg.Go(func() { _ = w.CloseWithError(cmd.Wait()) })
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		wg.Wait()
	})
	return p
}

func (p *person) types(line string) {
	p.tb.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.tb.Fatal(err)
	}
}

// sees waits for a line that holds all parts, and returns it.
func (p *person) sees(parts ...string) string {
	p.tb.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.tb.Fatalf("the program ended before %q; seen:\n%s", parts, strings.Join(p.seen, "\n"))
			}
			p.seen = append(p.seen, line)
			all := true
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all {
				return line
			}
		case <-timeout:
			p.tb.Fatalf("no line with %q; seen:\n%s", parts, strings.Join(p.seen, "\n"))
		}
	}
}

// Two people talk, the server dies, and a third sees all that was said.
func TestPeopleTalkAndAThirdSeesAll(t *testing.T) {
	t.Parallel()
	server := embedded(t)
	url := "ws://" + server.addr
	ann := sitDown(t, "lobby", "--server", url, "--plain")
	ann.types("ann") // asked for, since no name was given
	bob := sitDown(t, "lobby", "--server", url, "--plain", "--name", "bob")
	bob.types("hello ann")
	ann.sees("bob", "hello ann")
	ann.types("hello bob")
	bob.sees("ann", "hello bob")
	ann.sees("✓✓")
	who := ""
	for !strings.Contains(who, "bob") { // his coming is told a moment after his message
		ann.types("/who")
		who = ann.sees("here:")
	}
	server.kill()
	server.again()
	ann.types("still there?")
	bob.sees("ann", "still there?")
	carl := sitDown(t, "lobby", "--server", url, "--plain", "--name", "carl")
	carl.sees("bob", "hello ann")
	carl.sees("ann", "hello bob")
	carl.sees("ann", "still there?")
	for _, p := range []*person{ann, bob, carl} {
		p.types("/quit")
		for range p.lines { // to its end
		}
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit code %d; seen:\n%s", code, strings.Join(p.seen, "\n"))
		}
	}
}

func TestScriptsSendTailAndAskForHistory(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	historyAddr := freeAddr(t)
	server := embedded(t, "--send-rate", "0", "--history-listen", historyAddr)
	as := []string{"--server", "ws://" + server.addr, "--name", "bot"}
	var lines strings.Builder
	for i := range 200 {
		fmt.Fprintf(&lines, "line %d\n", i+1)
	}
	if r := gochat(ctx, t, strings.NewReader(lines.String()), nil, append([]string{"send", "log", "-"}, as...)...); r.code != 0 {
		t.Fatalf("send -: %d %s%s", r.code, r.out, r.err)
	}
	send := append([]string{"send", "log", "one", "more", "--id", "fixed", "--json"}, as...)
	for i := range 2 {
		r := gochat(ctx, t, nil, nil, send...)
		var a frame.Accepted
		if err := json.Unmarshal([]byte(r.out), &a); err != nil || r.code != 0 {
			t.Fatalf("send --json: %v, %d %s%s", err, r.code, r.out, r.err)
		}
		if a.Seq != 201 || a.Duplicate != (i == 1) {
			t.Errorf("send --json: %+v", a)
		}
	}
	r := gochat(ctx, t, nil, nil, append([]string{"tail", "log", "--after", "0", "--until", "201", "--json", "--verify"}, as...)...)
	if r.code != 0 {
		t.Fatalf("tail: %d %s", r.code, r.err)
	}
	got := strings.Split(strings.TrimSpace(r.out), "\n")
	if len(got) != 201 {
		t.Fatalf("tail printed %d lines", len(got))
	}
	for i, line := range got {
		var e frame.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq != int64(i+1) || (i < 200 && e.Text != fmt.Sprintf("line %d", i+1)) {
			t.Fatalf("line %d: %s: %v", i+1, line, err)
		}
	}
	eventually(t, 20*time.Second, "history has all", func() error {
		r := gochat(ctx, t, nil, nil, "history", "log", "--after", "150", "--limit", "100", "--json", "--history-addr", historyAddr)
		if n := strings.Count(r.out, "\n"); r.code != 0 || n != 51 {
			return fmt.Errorf("exit code %d, %d lines: %s", r.code, n, r.err)
		}
		return nil
	})
}

// A message sent while the server is away stays on disk, and goes out with the next call.
func TestSendQueuesWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	addr := freeAddr(t)
	home := "HOME=" + t.TempDir()
	r := gochat(ctx, t, nil, []string{home}, "send", "r", "first", "--server", "ws://"+addr, "--name", "bot", "--timeout", "500ms")
	if r.code != 1 || !strings.Contains(r.err, "queued") {
		t.Fatalf("exit code %d: %s%s", r.code, r.out, r.err)
	}
	server := embedded(t, "--listen", addr)
	r = gochat(ctx, t, nil, []string{home}, "send", "r", "second", "--server", "ws://"+addr, "--name", "bot")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s%s", r.code, r.out, r.err)
	}
	p := getEvents(t, server.addr, "r", "?after=0")
	if len(p.Events) != 2 || p.Events[0].Text != "first" || p.Events[1].Text != "second" {
		t.Errorf("events: %+v", p.Events)
	}
}

// What is wrong at the start is one line that names the setting, and the exit code says whose fault it is.
func TestWrongStarts(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	server := embedded(t, "--data", data)
	for name, tc := range map[string]struct {
		env  []string
		args []string
		code int
		want []string
	}{
		"port taken":      {nil, []string{"up", "--listen", server.addr, "--data", t.TempDir()}, 1, []string{"--listen", server.addr, "taken"}},
		"folder in use":   {nil, []string{"up", "--listen", "127.0.0.1:0", "--data", data}, 1, []string{data, "in use"}},
		"no such setting": {nil, []string{"up", "--lisen", "x"}, 2, []string{"lisen"}},
		"two mistakes":    {[]string{"GOCHAT_SEND_RATE=fast"}, []string{"up", "--heartbeat", "-1s"}, 2, []string{"GOCHAT_SEND_RATE", "--heartbeat"}},
		"not a URL":       {[]string{"DATABASE_URL=mysql://u:secret@h/d"}, []string{"chatroom"}, 2, []string{"DATABASE_URL"}},
		"no database":     {[]string{"DATABASE_URL=" + withDatabase(t, "no_such_database")}, []string{"migrate", "status"}, 1, []string{"DATABASE_URL", "no_such_database"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := gochat(t.Context(), t, nil, tc.env, tc.args...)
			if r.code != tc.code {
				t.Errorf("exit code %d, want %d: %s", r.code, tc.code, r.err)
			}
			for _, part := range tc.want {
				if !strings.Contains(r.err, part) {
					t.Errorf("%q does not name %q", r.err, part)
				}
			}
			if strings.Contains(r.err, "secret") || strings.Contains(r.err, "goroutine") {
				t.Errorf("said too much: %s", r.err)
			}
		})
	}
}
