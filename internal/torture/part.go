//go:build unix

package torture

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// part is one of our own processes under a supervisor, as systemd or Kubernetes would run it: whenever it ends it is
// started again, soon.
type part struct {
	name  string
	admin string // address of its admin listener
	prog  *services.Program
	srv   *services.Server
	env   []string

	mu         sync.Mutex // guards the fields below
	crashAt    string     // for the next start only
	armed      bool       // the process that runs now will crash
	complaints []string
}

const restartAfter = 150 * time.Millisecond

func newPart(dir, program, name, admin string, env, args []string) *part {
	prog := &services.Program{
		Name: name, Path: program, Args: append(args, "--admin-listen", admin), Dir: dir,
		Log: filepath.Join(dir, name+".log"),
		// Whether it is ready is asked later: a start must not hold up a kill.
		Probe: func(context.Context) error { return nil },
	}
	return &part{name: name, admin: admin, prog: prog, srv: services.NewProgram(prog), env: env}
}

// supervise starts the process again and again until ctx ends. Then the process is left as it is.
func (p *part) supervise(ctx context.Context) error {
	for ctx.Err() == nil {
		p.mu.Lock()
		p.prog.Env = p.env
		if p.armed = p.crashAt != ""; p.armed {
			p.prog.Env = append(slices.Clip(p.prog.Env), "GOCHAT_CRASH_AT="+p.crashAt)
		}
		p.crashAt = ""
		p.mu.Unlock()
		if err := p.srv.Start(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err // its program cannot be run at all
		}
		if ended := p.srv.Ended(); ended != nil { // nil: killed already
			select {
			case <-ended:
			case <-ctx.Done():
				return nil
			}
		}
		byItself := p.srv.Ended() != nil     // whoever stops or kills it clears it away, too
		if err := p.srv.Kill(); err != nil { // clears away what is left
			return err
		}
		if code := p.srv.ExitCode(); byItself && code >= 0 {
			p.complain(fmt.Sprintf("%s ended by itself with exit code %d", p.name, code))
		}
		pause(ctx, restartAfter)
	}
	return nil
}

// crash makes the process end at a crash point after its next start, which comes at once.
func (p *part) crash(at string) error {
	p.mu.Lock()
	p.crashAt = at
	p.mu.Unlock()
	return p.srv.Kill()
}

// disarm takes a crash point back.
func (p *part) disarm() error {
	p.mu.Lock()
	p.crashAt = ""
	armed := p.armed
	p.mu.Unlock()
	if !armed {
		return nil
	}
	return p.srv.Kill()
}

// stop asks for an orderly stop, and complains where it is none: exit code 0 within 10 s is promised. A process that does not
// answer yet may die of the signal: before its first line runs the kernel ends it.
func (p *part) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 12*time.Second)
	defer cancel()
	if p.srv.Ended() == nil {
		return nil // it is down just now
	}
	mayDie := p.answers(ctx, "/healthz") != nil
	p.mu.Lock()
	mayDie = mayDie || p.armed
	p.mu.Unlock()
	err := p.srv.Stop(ctx)
	code := p.srv.ExitCode()
	// A signal ended it: that of its crash point, or ours, which it did not know yet. Nothing excuses a slow stop.
	if excused := mayDie && err == nil && code < 0; (err != nil || code != 0) && !excused {
		p.complain(fmt.Sprintf("%s did not stop in order: exit code %d, %v", p.name, code, err))
	}
	return nil
}

func (p *part) complain(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaints = append(p.complaints, text)
}

// ready asks the process itself.
func (p *part) ready(ctx context.Context) error { return p.answers(ctx, "/readyz") }

// answers asks the admin listener, and wants OK.
func (p *part) answers(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return err
	}
	req.Close = true // a connection to a process that is killed is not worth keeping
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", p.name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		return fmt.Errorf("%s says %s to %s: %s", p.name, resp.Status, path, bytes.TrimSpace(b.Bytes()))
	}
	return nil
}

// judge looks for what no process may say, and returns it with the earlier complaints.
func (p *part) judge() []string {
	log, err := os.ReadFile(p.prog.Log)
	if err != nil {
		p.complain(err.Error())
	}
	for _, bad := range []string{"DATA RACE", "panic: ", "fatal error: "} {
		if i := bytes.Index(log, []byte(bad)); i >= 0 {
			line, _, _ := bytes.Cut(log[i:], []byte("\n"))
			p.complain(fmt.Sprintf("%s said %q; see %s", p.name, line, p.prog.Log))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.complaints
}

// pause waits; false where ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
