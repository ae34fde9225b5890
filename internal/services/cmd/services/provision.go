//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// command runs a program and returns what it printed.
type command func(ctx context.Context, args ...string) (string, error)

// sql runs statements as a superuser and returns the first value of the last one, "" without a row.
type sql func(ctx context.Context, statement string) (string, error)

// tools are ways in past the passwords.
type tools struct {
	rabbitmqctl command
	psql        sql // nil: superuser finds one
}

// provision makes what the URL names, unless the URL works already. It never changes what is there: an existing role or
// user keeps its password.
func (t target) provision(ctx context.Context, out io.Writer, with tools) error {
	if t.login(ctx) == nil {
		return nil
	}
	var err error
	if t.kind == services.PostgreSQL {
		err = t.provisionPostgres(ctx, out, with.psql)
	} else {
		err = t.provisionRabbitMQ(ctx, out, with.rabbitmqctl)
	}
	if err != nil {
		return fmt.Errorf("make what %s names at %s: %w", t.setting, t.address(), err)
	}
	if err := t.login(ctx); err != nil {
		return fmt.Errorf("%s at %s refuses %s of user %s, who exists; correct it: %w", t.kind, t.address(), t.setting, t.user, err)
	}
	return nil
}

func (t target) provisionPostgres(ctx context.Context, out io.Writer, exec sql) (err error) {
	if exec == nil {
		if exec, err = t.superuser(ctx); err != nil {
			return err
		}
	}
	user, database := pgx.Identifier{t.user}.Sanitize(), pgx.Identifier{t.name}.Sanitize()
	for _, step := range []struct{ exists, make, what string }{
		{
			"SELECT 1 FROM pg_roles WHERE rolname = " + literal(t.user),
			"CREATE ROLE " + user + " LOGIN PASSWORD " + literal(t.pass),
			"role " + t.user,
		},
		{
			"SELECT 1 FROM pg_database WHERE datname = " + literal(t.name),
			"CREATE DATABASE " + database + " OWNER " + user,
			"database " + t.name + ", owned by " + t.user,
		},
	} {
		found, err := exec(ctx, step.exists)
		if err != nil {
			return err
		}
		if found != "" {
			continue
		}
		if _, err := exec(ctx, step.make); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: made %s\n", t.kind, step.what)
	}
	return nil
}

// superuser finds a way in: the operating system's user postgres over the socket, as a distribution sets it up, or a
// superuser over TCP without a password, or the URL's own user, who is one in the containers.
func (t target) superuser(ctx context.Context) (sql, error) {
	socket := func(ctx context.Context, statement string) (string, error) {
		return output(ctx, "runuser", "-u", "postgres", "--",
			"psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-p", strconv.Itoa(t.port), "-d", "postgres", "-c", statement)
	}
	// The socket's server must be the URL's own, not just one with the same port on this machine.
	if os.Geteuid() == 0 && t.loopback() {
		if _, err := socket(ctx, "SELECT 1"); err == nil {
			return socket, nil
		}
	}
	cfg, err := pgx.ParseConfig(t.raw)
	if err != nil {
		return nil, err
	}
	cfg.Database = "postgres"
	var tried []error
	for _, user := range []string{"postgres", cmp.Or(os.Getenv("USER"), t.user), t.user} {
		cfg := cfg.Copy()
		cfg.User = user
		if user != t.user {
			cfg.Password = ""
		}
		tcp := func(ctx context.Context, statement string) (string, error) { return overTCP(ctx, cfg, statement) }
		super, err := tcp(ctx, "SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolsuper")
		if err == nil && super != "" {
			return tcp, nil
		}
		tried = append(tried, err)
	}
	return nil, fmt.Errorf("no superuser is let in, over the socket as root or over TCP without a password: %w", errors.Join(tried...))
}

func overTCP(ctx context.Context, cfg *pgx.ConnConfig, statement string) (string, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	results, err := conn.PgConn().Exec(ctx, statement).ReadAll()
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

// literal quotes a string for SQL: CREATE ROLE takes no parameters. Backslashes stand for themselves.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (t target) provisionRabbitMQ(ctx context.Context, out io.Writer, ctl command) error {
	for _, step := range []struct {
		list, make []string
		name, what string
	}{
		{[]string{"list_users"}, []string{"add_user", t.user, t.pass}, t.user, "user " + t.user},
		{[]string{"list_vhosts"}, []string{"add_vhost", t.name}, t.name, "virtual host " + t.name},
	} {
		text, err := ctl(ctx, append(step.list, "--quiet", "--no-table-headers")...)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool {
			name, _, _ := strings.Cut(line, "\t")
			return name == step.name
		}) {
			continue
		}
		if _, err := ctl(ctx, step.make...); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: made %s\n", t.kind, step.what)
	}
	if _, err := ctl(ctx, "set_permissions", "-p", t.name, t.user, ".*", ".*", ".*"); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: user %s may do everything in virtual host %s\n", t.kind, t.user, t.name)
	return nil
}

// output runs a program and returns what it printed; an error carries what it complained of, but not its arguments,
// which may hold a password.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)

	cmd.Dir = os.TempDir()          // other users cannot enter ours
	cmd.WaitDelay = 2 * time.Second // a server that the program leaves behind may keep the pipe open
	text, err := cmd.Output()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return strings.TrimSpace(string(text)), nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return "", fmt.Errorf("%s: %w", name, err)
}
