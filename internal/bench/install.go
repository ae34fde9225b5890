//go:build unix

package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/bench/wire"
	"github.com/rafaeldepontes/go-chat/internal/services"
	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

// chatArgs are those of the chat room under load: no limit for a sender, and no line for each thing that happens.
var chatArgs = []string{"--send-rate", "0", "--log-level", "warn"}

// server is something that clients can be measured against.
type server struct {
	name   string
	dialer *wire.Dialer
	// front are the processes that serve the clients, and back what they stand on. Without front their use is not known.
	front, back func() []int
	memory      []watched // first that of front
	// outbox makes something to look at how many rows wait, until done; nil where nobody can.
	outbox func(context.Context) (w watched, done func(), err error)
	// restart begins with a fresh process: memory that Go has once had from the system it keeps for a while, and what
	// follows would seem to need none. On a server of others it does nothing.
	restart func(context.Context) error
}

func (s *server) usage() usage {
	u := usage{at: time.Now(), generator: ownCPU(), machine: machineCPU()}
	front, back := s.front(), s.back()
	u.server, u.rss = processes(front)
	behind, _ := processes(back)
	u.side = u.server + behind
	return u
}

// known tells whether what the server uses is known.
func (s *server) known() bool { return s.usage().rss > 0 }

// installation is a go-chat of its own, with its data in a folder of its own. In split mode it has servers of its own too.
type installation struct {
	cfg      Config
	postgres *services.Server // nil in embedded mode, like broker and persister
	broker   *services.Server
	shared   bool   // postgres and broker are another installation's
	database string // URL of the split mode
	persist  *services.Server
	chat     *services.Server
	program  *services.Program // of chat
	chatArgs []string          // of chat, without what one start adds
	listen   string
	ca       *tls.Config // not nil with TLS
	release  []func()
}

// install starts everything and waits until it is ready.
func install(ctx context.Context, cfg Config) (*installation, error) {
	i := &installation{cfg: cfg}
	start := i.split
	if cfg.Embedded {
		start = i.embedded
	}
	if err := start(ctx); err != nil {
		i.close()
		return nil, fmt.Errorf("start an installation: %w", err)
	}
	return i, nil
}

func (i *installation) embedded(ctx context.Context) error {
	if err := i.embeddedProgram(ctx); err != nil {
		return err
	}
	return i.startChat(ctx)
}

func (i *installation) embeddedProgram(ctx context.Context) error {
	return i.chatProgram(ctx, []string{"up", "--data", i.data(), "--history-listen", "127.0.0.1:0"}, nil)
}

// data is the folder of the embedded databases.
func (i *installation) data() string { return filepath.Join(i.cfg.Dir, "data") }

func (i *installation) split(ctx context.Context) error {
	var wg sync.WaitGroup
	var err1, err2 error
	wg.Go(func() { i.postgres, err1 = services.StartPostgres(ctx, i.cfg.Dir, services.Options{}) })
	wg.Go(func() { i.broker, err2 = services.StartRabbitMQ(ctx, i.cfg.Dir, services.Options{}) })
	wg.Wait()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	i.database = i.postgres.URL()
	if err := i.splitPrograms(ctx, ""); err != nil {
		return err
	}
	return i.start(ctx)
}

// splitPrograms migrates the database and prepares the two services; prefix is that of their names on the broker.
func (i *installation) splitPrograms(ctx context.Context, prefix string) error {
	env := []string{"DATABASE_URL=" + i.database, "RABBITMQ_URL=" + i.broker.URL(), "GOCHAT_RABBITMQ_PREFIX=" + prefix}
	migrate := exec.CommandContext(ctx, i.cfg.Program, "migrate", "up")
	migrate.Dir, migrate.Env = i.cfg.Dir, append(i.environment(), env...)
	if out, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, out)
	}
	history, err := i.address()
	if err != nil {
		return err
	}
	p, err := i.newProgram("persister", []string{"persister", "--listen", history, "--log-level", "warn"}, env)
	if err != nil {
		return err
	}
	i.persist = services.NewProgram(p)
	return i.chatProgram(ctx, []string{"chatroom", "--history-addr", history}, env)
}

// start starts the services, not the servers that they stand on.
func (i *installation) start(ctx context.Context) error {
	if i.persist != nil {
		if err := i.persist.Start(ctx); err != nil {
			return err
		}
	}
	return i.startChat(ctx)
}

// stop stops them.
func (i *installation) stop(ctx context.Context) error {
	err := i.stopChat(ctx)
	if i.persist != nil {
		err = errors.Join(err, i.persist.Stop(ctx))
	}
	return err
}

func (i *installation) environment() []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + i.cfg.Dir}, i.cfg.Env...)
}

// chatProgram prepares the process that serves the clients.
func (i *installation) chatProgram(ctx context.Context, args, env []string) (err error) {
	if i.listen, err = i.address(); err != nil {
		return err
	}
	if i.cfg.TLS {
		gencert := exec.CommandContext(ctx, i.cfg.Program, "gencert", "--dir", i.cfg.Dir)
		gencert.Dir, gencert.Env = i.cfg.Dir, i.environment()
		if out, err := gencert.CombinedOutput(); err != nil {
			return fmt.Errorf("make a certificate: %w: %s", err, out)
		}
		if i.ca, err = tlsfiles.ClientConfig(filepath.Join(i.cfg.Dir, "ca.pem")); err != nil {
			return err
		}
		args = append(args, "--tls-cert", filepath.Join(i.cfg.Dir, "cert.pem"), "--tls-key", filepath.Join(i.cfg.Dir, "key.pem"))
	}
	args = append(args, chatArgs...)
	if i.program, err = i.newProgram(args[0], append(args, "--listen", i.listen), env); err != nil {
		return err
	}
	i.chat, i.chatArgs = services.NewProgram(i.program), i.program.Args
	return nil
}

// newProgram prepares one of our own processes.
func (i *installation) newProgram(name string, args, env []string) (*services.Program, error) {
	admin, err := i.address()
	if err != nil {
		return nil, err
	}
	return &services.Program{
		Name: name, Path: i.cfg.Program, Args: append(args, "--admin-listen", admin), Dir: i.cfg.Dir,
		Env: append(append([]string{}, env...), i.cfg.Env...), Log: filepath.Join(i.cfg.Dir, name+".log"),
		Probe: func(ctx context.Context) error { return ready(ctx, admin) },
	}, nil
}

func ready(ctx context.Context, admin string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	return nil
}

// startChat starts the process that serves the clients; more are arguments for this time.
func (i *installation) startChat(ctx context.Context, more ...string) error {
	i.program.Args = append(slices.Clone(i.chatArgs), more...)
	return i.chat.Start(ctx)
}

func (i *installation) restartChat(ctx context.Context) error {
	if err := i.stopChat(ctx); err != nil {
		return err
	}
	return i.startChat(ctx)
}

func (i *installation) stopChat(ctx context.Context) error { return i.chat.Stop(ctx) }

// clearUp does what the database still owes for earlier scenarios, millions of rows after a drain: its own vacuum would begin
// within a minute, in the middle of the next one. What the next one writes itself is vacuumed while it runs, as ever.
func (i *installation) clearUp(ctx context.Context) error {
	if i.postgres == nil {
		return nil
	}
	return inDatabase(ctx, i.database, func(conn *pgx.Conn) error { return inOrder(ctx, conn, `VACUUM (ANALYZE)`, `CHECKPOINT`) })
}

// address reserves a loopback address for the whole run.
func (i *installation) address() (string, error) {
	port, release, err := services.ReservePort()
	if err != nil {
		return "", err
	}
	i.release = append(i.release, release)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

// server is how clients see the installation.
func (i *installation) server() *server {
	u := &url.URL{Scheme: "ws", Host: i.listen}
	if i.ca != nil {
		u.Scheme = "wss"
	}
	memory := []watched{memoryOf(serverMemory, i.chat.PIDs)}
	var outbox func(context.Context) (watched, func(), error)
	if i.persist != nil {
		memory = append(memory, memoryOf(persisterMemory, i.persist.PIDs))
		outbox = i.watchedOutbox
	}
	return &server{
		name: Subject, dialer: &wire.Dialer{Server: u, TLS: i.ca, Protocol: frame.Protocol},
		front: i.chat.PIDs, memory: memory, outbox: outbox, restart: i.restartChat,
		back: func() (pids []int) {
			for _, s := range []*services.Server{i.persist, i.postgres, i.broker} {
				if s != nil {
					pids = append(pids, s.PIDs()...)
				}
			}
			return pids
		},
	}
}

// close ends all of it, whatever state it is in.
func (i *installation) close() {
	servers := []*services.Server{i.chat, i.persist}
	if !i.shared {
		servers = append(servers, i.broker, i.postgres)
	}
	for _, s := range servers {
		if s != nil {
			_ = s.Kill()
		}
	}
	for _, f := range i.release {
		f()
	}
}

// broadcaster starts the baseline as a process of its own.
func broadcaster(ctx context.Context, cfg Config) (*server, func(), error) {
	port, release, err := services.ReservePort()
	if err != nil {
		return nil, nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	d := net.Dialer{}
	args := []string{"baseline", "--listen", addr}
	s := services.NewProgram(&services.Program{
		Name: "baseline", Path: cfg.Program, Args: args, Dir: cfg.Dir, Env: cfg.Env, Log: filepath.Join(cfg.Dir, "baseline.log"),
		Probe: func(ctx context.Context) error {
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err == nil {
				_ = conn.Close()
			}
			return err
		},
	})
	stop := func() { _ = s.Kill(); release() }
	if err := s.Start(ctx); err != nil {
		stop()
		return nil, nil, err
	}
	return &server{
		name: Baseline, dialer: &wire.Dialer{Server: &url.URL{Scheme: "ws", Host: addr}, Protocol: frame.Protocol},
		front: s.PIDs, back: func() []int { return nil }, memory: []watched{memoryOf(serverMemory, s.PIDs)},
		restart: func(ctx context.Context) error {
			if err := s.Stop(ctx); err != nil {
				return err
			}
			return s.Start(ctx)
		},
	}, stop, nil
}
