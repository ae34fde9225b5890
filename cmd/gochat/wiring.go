package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/rafaeldepontes/go-chat/chatroom"
	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/admin"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/internal/flightrecorder"
	"github.com/rafaeldepontes/go-chat/internal/lifecycle"
	"github.com/rafaeldepontes/go-chat/internal/quiet"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// What the commands chatroom, persister and up are put together from. Each addX appends its parts to a group in their
// start order: consumers before the relay, the relay before the listener.

// stopGrace bounds the stop of one listener; the whole stop is bounded by the group.
const stopGrace = 3 * time.Second

// assembly collects what a service is made of.
type assembly struct {
	logger  *slog.Logger
	admin   *admin.Server
	metrics bus.Metrics
	started atomic.Bool
	group   *lifecycle.Group
	closes  []func() error // in the order of opening; close runs them backwards

	recorder *flightrecorder.Recorder // of what happens to events; see recording.go
}

// assemble starts with the admin listener, which tells that the rest is not ready while it waits for its database. name is
// that of the command.
func assemble(ctx context.Context, name string, logger *slog.Logger, at listenAddress) (*assembly, error) {
	a := &assembly{
		logger: logger, admin: admin.New(), group: lifecycle.New(lifecycle.Options{Logger: logger}), recorder: flightrecorder.New(name),
	}
	a.group.Add("memory", quiet.Process)
	a.metrics = busMetrics(a.admin.Registry())
	a.admin.Handle("GET "+flightrecorder.Path, a.recorder.Handler())
	serve, err := openAdmin(ctx, at, a.admin, logger)
	if err != nil {
		return nil, err
	}
	a.admin.AddCheck("start", func(context.Context) error {
		if !a.started.Load() {
			return errors.New("not started yet")
		}
		return nil
	})
	if serve != nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func() { ended <- serve(ctx) }()
		a.onClose(func() error { cancel(); return <-ended })
	}
	return a, nil
}

// onClose keeps what is to be closed when the parts have ended, or when a later step of the start fails.
func (a *assembly) onClose(f func() error) { a.closes = append(a.closes, f) }

func (a *assembly) close() {
	for _, f := range slices.Backward(a.closes) {
		if err := f(); err != nil {
			a.logger.Warn("not closed in order", "error", err)
		}
	}
}

// openPool waits for PostgreSQL, and sees that the service's schema is of this binary's version.
func (a *assembly) openPool(ctx context.Context, at namedURL, service migrations.Service) (*pgxpool.Pool, error) {
	var pool *pgxpool.Pool
	var installation string
	err := a.awaitDatabase(ctx, func() (err error) {
		pool, err = db.OpenPostgres(ctx, at.url, db.Options{ApplicationName: "gochat " + string(service)})
		if err != nil {
			return err
		}
		defer func() {
			if err != nil {
				pool.Close()
			}
		}()
		m, err := migrations.Postgres(at.url, service)
		if err != nil {
			return err
		}
		if err := errors.Join(m.Check(ctx), m.Close()); err != nil {
			return err
		}
		installation, err = db.Identity(ctx, pool)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.onClose(func() error { pool.Close(); return nil })
	a.recorder.Belongs(installation)
	a.admin.AddCheck("database", pool.Ping)
	return pool, nil
}

// awaitDatabase does a part of the start that the database answers, as often as it is away meanwhile.
func (a *assembly) awaitDatabase(ctx context.Context, part func() error) error {
	err := db.Wait(ctx, func(err error, pause time.Duration) {
		a.logger.Warn("waiting for the database", "error", err, "retry_in", pause)
	}, part)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// dialBroker starts the connections to RabbitMQ; they are made, and made again, in the background.
func (a *assembly) dialBroker(ctx context.Context, c brokerConfig, instance string, ca *tls.Config) (bus.Transport, error) {
	t, err := bus.DialAMQP(ctx, bus.AMQPConfig{
		URL: c.url, Topology: events.Topology{Prefix: c.prefix}, Instance: instance, TLS: ca,
		Logger: a.logger, Metrics: a.metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.origin, err)
	}
	a.onClose(t.Close)
	a.admin.AddCheck("broker", func(context.Context) error { return t.Ready() })
	return t, nil
}

// persisterParts is what differs between the persister of up and that of the split mode.
type persisterParts struct {
	store      persister.Store
	disturb    func(handler) handler
	inserters  int // inserts at once; 0: 1
	handlers   int
	tls        *tls.Config // of the listener; nil: no TLS
	reflection bool
}

// addPersister adds the consumer and the gRPC history over a store.
func (a *assembly) addPersister(t bus.Transport, lis net.Listener, parts persisterParts) {
	s := parts.store
	p := persister.New(persister.Options{
		Store: s, Inserters: parts.inserters, Logger: a.logger, Observe: insertMetrics(a.admin.Registry()), Handling: a.handling,
		Announce: func(_ context.Context, m events.MessagesStored) error {
			now := time.Now().UTC()
			body, err := m.Encode(fmt.Sprintf("stored/%d", now.UnixNano()), now)
			if err != nil {
				return err
			}
			return bus.Broadcast(t, "messages.stored", body)
		},
	})
	a.group.Add("persister", p.Run)
	options := bus.Options{Logger: a.logger, Metrics: a.metrics, Handlers: parts.handlers}
	handle := parts.disturb(p.Handle)
	a.group.Add("consumer", func(ctx context.Context) error {
		return bus.RunConsumer(ctx, t, func(ctx context.Context, ds []bus.Delivery) []error {
			raw := make([][]byte, len(ds))
			for i, d := range ds {
				raw[i] = d.Raw
			}
			return handle(withTurn(ctx, ds[0]), raw)
		}, options)
	})
	history := persister.NewHistoryServer(s, persister.HistoryOptions{Logger: a.logger, Watch: p.Watch})
	server := persister.NewGRPCServer(persister.GRPCOptions{Logger: a.logger, TLS: parts.tls})
	history.Register(server)
	state := health.NewServer()
	state.SetServingStatus(historyv1.HistoryService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(server, state)
	if parts.reflection {
		reflection.Register(server)
	}
	a.group.Add("history listener", func(ctx context.Context) error {
		return persister.ServeGRPC(ctx, server, lis, stopGrace, func() { state.Shutdown(); history.Stop() })
	})
}

// dialHistory makes a client of the history. It connects with the first call, and again within seconds.
func (a *assembly) dialHistory(c historyConfig) (chatroom.History, error) {
	conn, err := grpc.NewClient(c.addr,
		grpc.WithTransportCredentials(c.credentials),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.origin, err)
	}
	a.onClose(conn.Close)
	return chatroom.NewGRPCHistory(conn), nil
}

// chatParts is what differs between the chat room of up and that of the split mode.
type chatParts struct {
	store    store.Store
	outbox   outbox.Store
	history  chatroom.History
	crash    *crash // nil: none
	replicas bool   // others may share the broker
	web      http.Handler
}

// addChatroom adds the chat room, its fan-out, its relay, and the listener.
func (a *assembly) addChatroom(ctx context.Context, t bus.Transport, c chatConfig, parts chatParts, lis net.Listener) error {
	owner := c.instance
	if !parts.replicas {
		owner = "up" // who owns the folder owns the leases, also those of a run that was killed
	}
	relay, err := outbox.NewRelay(outbox.Options{
		Store: parts.outbox, Owner: owner, Shards: events.Shards, ShardOf: events.Shard,
		Watermarks: parts.history.Watermarks, RepublishAfter: c.republishAfter, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	options := chatroom.Options{
		Store: parts.store, History: parts.history, Committed: relay.Offer, Heard: relay.Heard, Stored: relay.Stored,
		Instance: c.instance, Version: readBuild().Version, Heartbeat: c.heartbeat, SendRate: c.sendRate, SendBurst: c.sendBurst,
		RecentEvents: c.recentEvents, RecentBytes: int(c.recentBytes), RecentTTL: c.recentTTL, RecentTotal: int(c.recentTotal),
		MaxConnections: c.maxConnections, Origins: c.origins, Logger: a.logger, Metrics: a.admin.Registry(),
	}
	if parts.replicas {
		options.Broadcast = func(bodies ...[]byte) {
			if err := bus.Broadcast(t, "chatroom", bodies...); err != nil {
				a.logger.Debug("fan-out dropped", "error", err)
			}
		}
	}
	var server *chatroom.Server
	if err := a.awaitDatabase(ctx, func() (err error) { server, err = chatroom.New(ctx, options); return err }); err != nil {
		return err
	}
	// The room goes on to hear of stored marks while it stops, and the relay publishes what it accepted last.
	a.group.Add("fan-out", func(ctx context.Context) error {
		return bus.RunFanout(ctx, t, c.instance, func(_ context.Context, e events.Envelope) {
			if err := server.HandleFanout(e); err != nil {
				a.logger.Warn("fan-out event skipped", "event", e.ID, "error", err)
			}
		}, bus.Options{Logger: a.logger})
	})
	a.group.Add("outbox", relay.Run)
	a.group.Add("relay", func(ctx context.Context) error {
		return bus.RunRelay(ctx, t, parts.crash.source(relay), bus.Options{Logger: a.logger, Publishing: a.publishing, BatchEvents: c.batchEvents})
	})
	a.group.Add("chat room", server.Run)

	mux := http.NewServeMux()
	api := server.Handler()
	mux.Handle("/ws", api)
	mux.Handle("/v1/", api)
	if parts.web != nil {
		mux.Handle("/", parts.web)
	}
	web := chatroom.HTTPServer(mux)
	web.ErrorLog = slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug)
	a.group.Add("listener", lifecycle.HTTP(web, lis, stopGrace))
	return nil
}

// run tells where the service listens, and runs its parts to their end.
func (a *assembly) run(ctx context.Context, out io.Writer, told string) error {
	a.group.Add("announcement", func(ctx context.Context) error {
		a.started.Store(true)
		fmt.Fprintln(out, told)
		<-ctx.Done()
		return nil
	})
	return a.group.Run(ctx)
}

// secure wraps a listener in TLS where it is configured.
func secure(lis net.Listener, c *tls.Config) net.Listener {
	if c == nil {
		return lis
	}
	c = c.Clone()
	c.NextProtos = []string{"http/1.1"} // a WebSocket is an upgrade of HTTP/1.1
	return tls.NewListener(lis, c)
}

func scheme(plain string, c *tls.Config) string {
	if c == nil {
		return plain
	}
	return plain + "s"
}

// busMetrics counts what the bus does.
func busMetrics(reg prometheus.Registerer) bus.Metrics {
	counter := func(name, help string) func(int) {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return func(n int) { c.Add(float64(n)) }
	}
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "gochat_consume_seconds", Help: "Time to handle messages of the queue that waited together, retries included.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	})
	reg.MustRegister(seconds)
	return bus.Metrics{
		Published:      counter("gochat_published_total", "Messages handed to the broker."),
		Confirmed:      counter("gochat_confirmed_total", "Messages that the broker confirmed."),
		Returned:       counter("gochat_returned_total", "Messages that no queue took."),
		Redelivered:    counter("gochat_redelivered_total", "Messages of the queue that came before."),
		DeadLettered:   counter("gochat_dead_lettered_total", "Events put into the poison queue."),
		FanoutDropped:  counter("gochat_fanout_dropped_total", "Fan-out messages dropped; readers repair from the database."),
		HandlerSeconds: func(s float64, _ error) { seconds.Observe(s) },
	}
}

// insertMetrics counts what the persister does.
func insertMetrics(reg prometheus.Registerer) func(persister.Insert) {
	stored := prometheus.NewCounter(prometheus.CounterOpts{Name: "gochat_stored_total", Help: "Events committed by the persister, repetitions included."})
	refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "gochat_store_refused_total", Help: "Events refused for good."})
	failed := prometheus.NewCounter(prometheus.CounterOpts{Name: "gochat_store_failed_total", Help: "Inserts that failed and are tried again."})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "gochat_store_seconds", Help: "Time to commit an insert.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	})
	reg.MustRegister(stored, refused, failed, seconds)
	return func(i persister.Insert) {
		seconds.Observe(i.Duration.Seconds())
		if i.Err != nil {
			failed.Inc()
			return
		}
		stored.Add(float64(i.Events - i.Refused))
		refused.Add(float64(i.Refused))
	}
}
