//go:build unix

package services

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitmq is the engine of a RabbitMQ node with an own port mapper (epmd): one that Erlang starts by itself would be a
// daemon that outlives the node, and would be shared with the machine's own broker.
type rabbitmq struct {
	dir      string
	node     string
	port     int
	distPort int
	epmdPort int
	opts     Options
	as       *owner
	script   string // path of rabbitmq-server
	epmd     string
}

// StartRabbitMQ starts a RabbitMQ node with its data in dir/rabbitmq and waits until it answers. User and password are
// those of default_user and default_pass in opts.Settings, else guest; the virtual host is default_vhost or "/".
// No plugin is enabled. dir must exist.
func StartRabbitMQ(ctx context.Context, dir string, opts Options) (*Server, error) {
	eng, held, err := newRabbitMQ(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("start RabbitMQ: %w", err)
	}
	return open(ctx, eng, held)
}

func newRabbitMQ(dir string, opts Options) (*rabbitmq, reservation, error) {
	var held reservation
	r := &rabbitmq{
		dir:  filepath.Join(dir, "rabbitmq"),
		node: "gochat-" + strings.ToLower(rand.Text()[:8]) + "@localhost",
		opts: opts,
	}
	var err error
	if r.script, err = rabbitmqScript(); err != nil {
		return nil, nil, err
	}
	if r.epmd, err = epmdBinary(); err != nil {
		return nil, nil, err
	}
	if r.as, err = unprivileged("rabbitmq"); err != nil {
		return nil, nil, err
	}
	if err = r.as.admit(dir); err != nil {
		return nil, nil, err
	}
	if r.port, err = held.takeOr(opts.Port); err != nil {
		return nil, nil, err
	}
	if r.distPort, err = held.take(); err != nil {
		return nil, nil, err
	}
	if r.epmdPort, err = held.take(); err != nil {
		return nil, nil, err
	}
	return r, held, r.keepNode()
}

// keepNode takes the node's name from an earlier life in the same folder: it is part of what the data is found under.
func (r *rabbitmq) keepNode() error {
	if err := mkdir(r.dir, r.as); err != nil {
		return err
	}
	path := filepath.Join(r.dir, "node")
	name, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(path, []byte(r.node), 0o600)
	}
	r.node = string(name)
	return err
}

func (r *rabbitmq) kind() Kind   { return RabbitMQ }
func (r *rabbitmq) data() string { return filepath.Join(r.dir, "data") }

func (r *rabbitmq) setting(name, def string) string {
	if v, ok := r.opts.Settings[name]; ok {
		return v
	}
	return def
}

func (r *rabbitmq) url() string {
	u := url.URL{
		Scheme: "amqp",
		User:   url.UserPassword(r.setting("default_user", "guest"), r.setting("default_pass", "guest")),
		Host:   address(r.port),
		Path:   "/",
	}
	if vhost := r.setting("default_vhost", "/"); vhost != "/" {
		u.Path, u.RawPath = "/"+vhost, "/"+url.PathEscape(vhost)
	}
	return u.String()
}

// env is the whole environment, so that no variable or file of the machine's own broker applies.
func (r *rabbitmq) env() []string {
	at := func(name string) string { return filepath.Join(r.dir, name) }
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"LANG=C.UTF-8",
		"HOME=" + r.dir,              // the Erlang cookie lies there
		"RUNNING_UNDER_SYSTEMD=true", // the script then becomes the node, instead of waiting for it
		"RABBITMQ_NODENAME=" + r.node,
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + strconv.Itoa(r.port),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(r.distPort),
		"RABBITMQ_MNESIA_BASE=" + r.data(),
		"RABBITMQ_LOG_BASE=" + at("log"),
		"RABBITMQ_PID_FILE=" + at("pid"),
		"RABBITMQ_CONFIG_FILE=" + at("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + at("advanced.config"),
		"RABBITMQ_CONF_ENV_FILE=" + at("rabbitmq-env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + at("enabled_plugins"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
		"ERL_EPMD_PORT=" + strconv.Itoa(r.epmdPort),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_CRASH_DUMP_SECONDS=0",
	}
}

func (r *rabbitmq) prepare(context.Context) error {
	for _, dir := range []string{r.dir, r.data(), filepath.Join(r.dir, "log")} {
		if err := mkdir(dir, r.as); err != nil {
			return err
		}
	}
	var conf strings.Builder
	for name, value := range r.opts.Settings {
		fmt.Fprintf(&conf, "%s = %s\n", name, value)
	}
	for name, text := range map[string]string{
		"rabbitmq.conf":     conf.String(),
		"rabbitmq-env.conf": "",
		"advanced.config":   "[].\n",
		"enabled_plugins":   "[].\n",
	} {
		path := filepath.Join(r.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := r.as.chown(path); err != nil {
			return err
		}
	}
	return nil
}

func (r *rabbitmq) programs() []program {
	base := program{env: r.env(), dir: r.dir, as: r.as, stop: syscall.SIGTERM, orphan: syscall.SIGKILL, detach: r.opts.Detach}
	epmd, node := base, base
	epmd.name, epmd.path, epmd.log = "epmd", r.epmd, filepath.Join(r.dir, "epmd.log")
	epmd.args = []string{"-port", strconv.Itoa(r.epmdPort), "-address", "127.0.0.1"}
	epmd.probe, epmd.mark = listens(r.epmdPort), "-port "+strconv.Itoa(r.epmdPort)
	node.name, node.path, node.log = "rabbitmq-server", r.script, filepath.Join(r.dir, "server.log")
	node.probe, node.mark = r.probe, r.dir
	return []program{epmd, node}
}

func (r *rabbitmq) probe(ctx context.Context) error {
	conn, err := amqp.DialConfig(r.url(), amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) {
			d := net.Dialer{}
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			deadline, ok := ctx.Deadline()
			if !ok {
				deadline = time.Now().Add(2 * time.Second)
			}
			return c, c.SetDeadline(deadline) // the handshake; amqp.DialConfig sets its own afterwards
		},
	})
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Close()
	}
	return errors.Join(err, conn.Close())
}

// Control runs the broker's own control tool (rabbitmqctl) on a server of [StartRabbitMQ].
func (s *Server) Control(ctx context.Context, args ...string) error {
	r, ok := s.engine.(*rabbitmq)
	if !ok {
		return fmt.Errorf("control %s: only RabbitMQ has a tool for it", s.engine.kind())
	}
	return run(ctx, program{
		name: "rabbitmqctl " + args[0], path: filepath.Join(filepath.Dir(r.script), "rabbitmqctl"),
		args: args, env: r.env(), dir: r.dir, as: r.as,
	})
}

func (r *rabbitmq) wipe() error { return os.RemoveAll(r.data()) }

// rabbitmqScript finds the server's own start script. The one that Debian puts on PATH changes the user and redirects
// the output: it is taken only where there is no other.
func rabbitmqScript() (string, error) {
	for _, pattern := range []string{
		"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
		"/usr/lib/rabbitmq/bin/rabbitmq-server",
		"/opt/rabbitmq/sbin/rabbitmq-server",
		"/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
		"/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
	} {
		if paths, _ := filepath.Glob(pattern); len(paths) > 0 {
			return slices.Max(paths), nil
		}
	}
	path, err := exec.LookPath("rabbitmq-server")
	if err != nil {
		return "", missing(RabbitMQ)
	}
	return path, nil
}

// epmdBinary finds Erlang's port mapper: on PATH, or inside Erlang's own folder.
func epmdBinary() (string, error) {
	if path, err := exec.LookPath("epmd"); err == nil {
		return path, nil
	}
	for _, pattern := range []string{"/usr/lib/erlang/erts-*/bin/epmd", "/usr/local/lib/erlang/erts-*/bin/epmd", "/opt/erlang/lib/erlang/erts-*/bin/epmd"} {
		if paths, _ := filepath.Glob(pattern); len(paths) > 0 {
			return slices.Max(paths), nil
		}
	}
	return "", errors.New("epmd, which comes with Erlang, is not on PATH")
}
