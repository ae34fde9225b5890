//go:build unix

package services

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// postgres is the engine of a PostgreSQL server: initdb once, then the postmaster in the foreground.
type postgres struct {
	dir    string
	port   int
	opts   Options
	as     *owner
	server string // path of postgres
	initdb string
}

// StartPostgres starts a PostgreSQL server with its data in dir/postgres and waits until it answers. The superuser is
// `postgres`, without a password on the loopback address. dir must exist.
func StartPostgres(ctx context.Context, dir string, opts Options) (*Server, error) {
	eng, held, err := newPostgres(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return open(ctx, eng, held)
}

func newPostgres(dir string, opts Options) (*postgres, reservation, error) {
	var held reservation
	p := &postgres{dir: filepath.Join(dir, "postgres"), opts: opts}
	var err error
	if p.server, err = postgresBinary("postgres"); err != nil {
		return nil, nil, err
	}
	if p.initdb, err = postgresBinary("initdb"); err != nil {
		return nil, nil, err
	}
	if p.as, err = unprivileged("postgres"); err != nil {
		return nil, nil, err
	}
	if err = p.as.admit(dir); err != nil {
		return nil, nil, err
	}
	if p.port, err = held.takeOr(opts.Port); err != nil {
		return nil, nil, err
	}
	return p, held, nil
}

func (p *postgres) kind() Kind   { return PostgreSQL }
func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) url() string {
	return "postgres://postgres@" + address(p.port) + "/postgres?sslmode=disable"
}

func (p *postgres) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C", "TZ=UTC"}
}

func (p *postgres) prepare(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(p.data(), "PG_VERSION")); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := mkdir(p.dir, p.as); err != nil {
		return err
	}
	return run(ctx, program{
		name: "initdb",
		path: p.initdb,
		args: []string{"--pgdata", p.data(), "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"},
		env:  p.env(),
		dir:  p.dir,
		as:   p.as,
	})
}

func (p *postgres) programs() []program {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(p.port),
		"unix_socket_directories": "", // a test's folder is often too long for a socket's name
		"max_connections":         "300",
		"log_min_messages":        "warning",
	}
	if p.opts.NoSync {
		settings["fsync"] = "off"
		settings["synchronous_commit"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, p.opts.Settings)
	args := []string{"-D", p.data()}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	return []program{{
		name: "postgres",
		path: p.server,
		args: args,
		env:  p.env(),
		dir:  p.dir,
		log:  filepath.Join(p.dir, "server.log"),
		stop: syscall.SIGINT, // fast: clients are disconnected, then a checkpoint
		// Immediate shutdown, since the postmaster then ends its children itself.
		orphan: syscall.SIGQUIT,
		as:     p.as,
		probe:  p.probe,
		detach: p.opts.Detach,
		mark:   p.data(),
	}}
}

func (p *postgres) probe(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.url())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT 1")
	return errors.Join(err, conn.Close(ctx))
}

func (p *postgres) wipe() error { return os.RemoveAll(p.data()) }

// postgresBinary finds a program of PostgreSQL's server. Debian and others keep it off PATH, in a folder a version.
func postgresBinary(name string) (string, error) {
	var found []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin/",
		"/usr/pgsql-*/bin/",
		"/opt/homebrew/opt/postgresql@*/bin/",
		"/usr/local/opt/postgresql@*/bin/",
	} {
		paths, _ := filepath.Glob(pattern + name)
		found = append(found, paths...)
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return versionOf(a) - versionOf(b) }), nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", missing(PostgreSQL)
	}
	return path, nil
}

// versionOf is the first number in a path, 0 without one.
func versionOf(path string) int {
	n := 0
	for i, c := range path {
		if c < '0' || c > '9' {
			if n > 0 && i > 0 {
				return n
			}
			continue
		}
		n = n*10 + int(c-'0')
	}
	return n
}
