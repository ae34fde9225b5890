//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/faultproxy"
	"github.com/rafaeldepontes/go-chat/internal/services"
)

// stack is a whole installation of its own: servers, our processes, and a proxy on every way between two of them.
type stack struct {
	mode     string
	dir      string
	postgres *services.Server // nil in embedded mode, like broker
	broker   *services.Server
	parts    map[string]*part
	links    map[string]*faultproxy.Proxy
	doors    []string // addresses where clients connect, through a proxy each
	history  string   // address of the gRPC history, without a proxy
	data     string   // folder of the embedded databases
	release  []func()

	ctx       context.Context // of the supervisors
	supervise context.CancelFunc
	wg        sync.WaitGroup
	failed    chan error // a process that could not be run at all
}

// settings of all our processes: what would take a minute in production takes seconds here.
var commonArgs = []string{"--log-level", "info", "--log-format", "text"}

var chatArgs = []string{"--send-rate", "0", "--heartbeat", "2s", "--republish-after", "5s", "--recent-events", "200"}

func newStack(cfg Config) *stack {
	s := &stack{
		mode: cfg.Mode, dir: cfg.Dir, parts: make(map[string]*part), links: make(map[string]*faultproxy.Proxy), failed: make(chan error, 8),
	}
	s.ctx, s.supervise = context.WithCancel(context.Background())
	return s
}

// start brings everything up and waits until all of it is ready.
func (s *stack) start(ctx context.Context, cfg Config) error {
	var err error
	if s.mode == Embedded {
		err = s.embedded(cfg)
	} else {
		err = s.split(ctx, cfg)
	}
	if err != nil {
		return err
	}
	for _, p := range s.parts {
		s.wg.Go(func() {
			if err := p.supervise(s.ctx); err != nil {
				s.failed <- err
			}
		})
	}
	return s.ready(ctx)
}

func (s *stack) embedded(cfg Config) error {
	s.data = filepath.Join(s.dir, "data")
	listen, err1 := s.port()
	admin, err2 := s.port()
	history, err3 := s.port()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	s.history = history
	args := append([]string{upName, "--listen", listen, "--data", s.data, "--history-listen", history, "--disturb", disturb}, commonArgs...)
	s.parts[upName] = newPart(s.dir, cfg.Program, upName, admin, cfg.Env, append(args, chatArgs...))
	door, err := s.link("clients→"+upName, listen)
	s.doors = append(s.doors, door)
	return err
}

// disturb is the share of deliveries that come late, twice, or again.
const disturb = "0.03"

func (s *stack) split(ctx context.Context, cfg Config) error {
	var wg sync.WaitGroup
	var err1, err2 error
	wg.Go(func() { s.postgres, err1 = services.StartPostgres(ctx, s.dir, services.Options{}) })
	wg.Go(func() { s.broker, err2 = services.StartRabbitMQ(ctx, s.dir, services.Options{}) })
	wg.Wait()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if err := s.migrate(ctx, cfg); err != nil {
		return err
	}
	var histories []string
	for _, name := range persisterNames {
		listen, err := s.port()
		if err != nil {
			return err
		}
		histories = append(histories, listen)
		if err := s.service(cfg, name, "persister", listen, nil, "--disturb", disturb); err != nil {
			return err
		}
	}
	s.history = histories[0]
	for i, name := range chatNames {
		listen, err := s.port()
		if err != nil {
			return err
		}
		history, err := s.link(name+"→history", histories[i%len(histories)])
		if err != nil {
			return err
		}
		args := append([]string{"--history-addr", history, "--instance", name}, chatArgs...)
		if err := s.service(cfg, name, "chatroom", listen, nil, args...); err != nil {
			return err
		}
		door, err := s.link("clients→"+name, listen)
		if err != nil {
			return err
		}
		s.doors = append(s.doors, door)
	}
	return nil
}

// service adds a service that reaches database and broker through proxies of its own.
func (s *stack) service(cfg Config, name, command, listen string, env []string, args ...string) error {
	admin, err := s.port()
	if err != nil {
		return err
	}
	database, err := s.linkURL(name+"→"+postgresName, s.postgres.URL())
	if err != nil {
		return err
	}
	broker, err := s.linkURL(name+"→"+brokerName, s.broker.URL())
	if err != nil {
		return err
	}
	env = append(append(env, "DATABASE_URL="+database, "RABBITMQ_URL="+broker), cfg.Env...)
	all := append(append([]string{command, "--listen", listen}, commonArgs...), args...)
	s.parts[name] = newPart(s.dir, cfg.Program, name, admin, env, all)
	return nil
}

func (s *stack) migrate(ctx context.Context, cfg Config) error {
	cmd := exec.CommandContext(ctx, cfg.Program, "migrate", "up")
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "DATABASE_URL=" + s.postgres.URL()}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, out)
	}
	return nil
}

// port reserves an address for the whole run.
func (s *stack) port() (string, error) {
	port, release, err := services.ReservePort()
	if err != nil {
		return "", err
	}
	s.release = append(s.release, release)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

func (s *stack) link(name, target string) (addr string, err error) {
	p, err := faultproxy.New(target)
	if err != nil {
		return "", err
	}
	s.links[name] = p
	return p.Addr(), nil
}

func (s *stack) linkURL(name, target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", fmt.Errorf("link %s: %w", name, err)
	}
	if u.Host, err = s.link(name, u.Host); err != nil {
		return "", err
	}
	return u.String(), nil
}

// ready waits until every part answers that it is.
func (s *stack) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, p := range s.parts {
		for {
			err := p.ready(ctx)
			if err == nil {
				break
			}
			select {
			case err := <-s.failed:
				return err
			default:
			}
			if !pause(ctx, 50*time.Millisecond) {
				return fmt.Errorf("not ready in time: %w", err)
			}
		}
	}
	return nil
}

// heal takes back every fault that lasts, so that the run can come to rest.
func (s *stack) heal(ctx context.Context) error {
	for _, l := range s.links {
		l.Resume()
	}
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, p.disarm())
	}
	return errors.Join(append(errs, s.ready(ctx))...)
}

// stop ends our processes in order, the way they start the other way round, and returns what they did wrong.
func (s *stack) stop(ctx context.Context) []string {
	s.supervise()
	s.wg.Wait()
	var complaints []string
	for _, name := range append(append([]string{upName}, chatNames...), persisterNames...) {
		p := s.parts[name]
		if p == nil {
			continue
		}
		if err := p.stop(ctx); err != nil {
			complaints = append(complaints, err.Error())
		}
		complaints = append(complaints, p.judge()...)
	}
	return complaints
}

// close ends everything, whatever state it is in.
func (s *stack) close() {
	s.supervise()
	for _, p := range s.parts {
		_ = p.srv.Kill()
	}
	s.wg.Wait()
	for _, p := range s.parts {
		_ = p.srv.Kill() // a supervisor may have been starting it
	}
	for _, l := range s.links {
		_ = l.Close()
	}
	for _, srv := range []*services.Server{s.postgres, s.broker} {
		if srv != nil {
			_ = srv.Kill()
		}
	}
	for _, f := range s.release {
		f()
	}
}

// dialBroker connects past the proxies.
func (s *stack) dialBroker() (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.Dial(s.broker.URL())
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the broker: %w", err)
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a channel: %w", err), conn.Close())
	}
	return conn, ch, nil
}

// deleteQueue removes the persister's queue with all that is in it, as a careless operator would.
func (s *stack) deleteQueue() error {
	conn, ch, err := s.dialBroker()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = ch.QueueDelete(events.Topology{}.MessageSentQueue(), false, false, false)
	return err
}

// settled waits until the services have declared both durable queues and RabbitMQ has written down where their logs are.
// It does so within a second (3.10: names.dets). A node that is killed before that forgets a new queue's log, makes an
// empty one when it starts, and never elects a leader for it: the queue then answers to nobody until it is deleted.
// No client can help that, so it would prove nothing about go-chat.
func (s *stack) settled(ctx context.Context) error {
	for {
		err := s.queuesThere()
		if err == nil {
			break
		}
		if !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
	pause(ctx, settling)
	return ctx.Err()
}

const settling = 4 * time.Second

func (s *stack) queuesThere() error {
	conn, ch, err := s.dialBroker()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, q := range []string{events.Topology{}.MessageSentQueue(), events.Topology{}.DeadLetterQueue()} {
		if _, err := ch.QueueDeclarePassive(q, true, false, false, false, nil); err != nil {
			return fmt.Errorf("look for queue %s: %w", q, err)
		}
	}
	return nil
}
