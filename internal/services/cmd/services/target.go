//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/joho/godotenv"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// target is one server as a setting names it.
type target struct {
	kind    services.Kind
	setting string
	raw     string // with the password: never printed
	host    string
	port    int
	user    string
	pass    string
	name    string // database or virtual host
}

type targets struct{ postgres, rabbitmq target }

func (t target) address() string { return net.JoinHostPort(t.host, strconv.Itoa(t.port)) }

// readTargets takes each URL from the environment, else .env, else .env.example, else the default.
func readTargets(getenv func(string) string) (targets, error) {
	files := []map[string]string{}
	for _, name := range []string{".env", ".env.example"} {
		values, err := godotenv.Read(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return targets{}, fmt.Errorf("read %s: %w", name, err)
		}
		files = append(files, values)
	}
	get := func(setting, def string) string {
		if v := getenv(setting); v != "" {
			return v
		}
		for _, values := range files {
			if v := values[setting]; v != "" {
				return v
			}
		}
		return def
	}
	const postgresDefault = "postgres://gochat:gochat@localhost:5432/gochat?sslmode=disable"
	const rabbitDefault = "amqp://gochat:gochat@localhost:5672/gochat"
	pg, err1 := postgresTarget(get("DATABASE_URL", postgresDefault))
	mq, err2 := rabbitTarget(get("RABBITMQ_URL", rabbitDefault))
	return targets{pg, mq}, errors.Join(err1, err2)
}

func postgresTarget(raw string) (target, error) {
	cfg, err := pgx.ParseConfig(raw) // its error hides the password
	if err != nil {
		return target{}, fmt.Errorf("DATABASE_URL: %w", err)
	}
	t := target{kind: services.PostgreSQL, setting: "DATABASE_URL", raw: raw, host: cfg.Host, port: int(cfg.Port), user: cfg.User, pass: cfg.Password, name: cfg.Database}
	if t.name == "" {
		t.name = t.user
	}
	if strings.HasPrefix(t.host, "/") {
		return target{}, errors.New("DATABASE_URL: names a socket file; name a host and a port")
	}
	return t, nil
}

func rabbitTarget(raw string) (target, error) {
	uri, err := amqp.ParseURI(raw)
	if err != nil {
		var where *url.Error
		if errors.As(err, &where) {
			err = where.Err // without the URL, which holds the password
		}
		return target{}, fmt.Errorf("RABBITMQ_URL: %w", err)
	}
	return target{kind: services.RabbitMQ, setting: "RABBITMQ_URL", raw: raw, host: uri.Host, port: uri.Port, user: uri.Username, pass: uri.Password, name: uri.Vhost}, nil
}

// listens tells whether somebody takes connections there.
func (t target) listens(ctx context.Context) bool {
	d := net.Dialer{Timeout: 2 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", t.address())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func (t target) loopback() bool {
	ip := net.ParseIP(t.host)
	return t.host == "localhost" || (ip != nil && ip.IsLoopback())
}

// login connects with the URL as it stands.
func (t target) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if t.kind == services.PostgreSQL {
		conn, err := pgx.Connect(ctx, t.raw)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	conn, err := amqp.DialConfig(t.raw, amqp.Config{Dial: amqp.DefaultDial(5 * time.Second)})
	if err != nil {
		return err
	}
	return conn.Close()
}

// startingUp is PostgreSQL's code while it recovers: it listens and does not answer yet.
const startingUp = "57P03"

// answered tells whether the error of a login came from the server itself: it refuses, so it is up.
func answered(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code != startingUp
	}
	var closed *amqp.Error
	return errors.As(err, &closed) && closed.Code != amqp.ChannelError
}

// await waits until the server answers, be it with a refusal.
func (t target) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := t.login(ctx)
		if err == nil || answered(err) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s (%s): %w", t.kind, t.address(), t.setting, err)
		}
	}
}
