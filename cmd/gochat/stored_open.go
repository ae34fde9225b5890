package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// openStored opens the data folder, or where none is named the database of the split mode. work is said of a command that
// changes something.
func openStored(ctx context.Context, data string, work bool, database func() namedURL, broker func() brokerConfig, ca func() (*tls.Config, error)) (*stored, error) {
	if data != "" {
		return openStoredFolder(ctx, data, work)
	}
	return openStoredServices(ctx, database(), broker(), ca)
}

// openStoredServices opens the database of the split mode. The broker is used by relay only.
func openStoredServices(ctx context.Context, database namedURL, broker brokerConfig, ca func() (*tls.Config, error)) (*stored, error) {
	trust, err := ca()
	if err != nil {
		return nil, err
	}
	m, err := migrations.Postgres(database.url)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.Check(ctx), m.Close()); err != nil {
		return nil, err
	}
	pool, err := db.OpenPostgres(ctx, database.url, db.Options{ApplicationName: "gochat operator", MaxConns: 4})
	if err != nil {
		return nil, err
	}
	installation, err := db.Identity(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, err
	}
	p := &stored{
		installation: installation,
		rooms:        store.NewPostgres(pool), outbox: outbox.Postgres{Pool: pool}, persister: persister.NewPostgres(pool),
		close: func() error { pool.Close(); return nil },
	}
	p.relay = func(ctx context.Context, owner string) error {
		t, err := bus.DialAMQP(ctx, bus.AMQPConfig{URL: broker.url, Topology: events.Topology{Prefix: broker.prefix}, Instance: owner, TLS: trust})
		if err != nil {
			return fmt.Errorf("%s: %w", broker.origin, err)
		}
		return errors.Join(p.relayBetween(ctx, t, owner), t.Close())
	}
	return p, nil
}

// openStoredFolder opens the files of a data folder: for working on them, which wants the folder for this process alone, or
// only to look, beside whoever owns it.
func openStoredFolder(ctx context.Context, dir string, work bool) (*stored, error) {
	if !work {
		return openStoredBeside(ctx, dir)
	}
	if err := isFolder(dir); err != nil {
		return nil, err
	}
	lock, err := db.LockDir(dir)
	if err != nil {
		return nil, err
	}
	closes := []func() error{lock.Close}
	p := &stored{owner: "up", close: func() (err error) {
		for _, f := range slices.Backward(closes) {
			err = errors.Join(err, f())
		}
		return err
	}}
	files := map[migrations.Service]*db.SQLite{}
	for _, service := range []migrations.Service{migrations.Chatroom, migrations.Persister} {
		file, err := openOwned(ctx, dir, service)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		closes = append(closes, file.Close)
		files[service] = file
	}
	rooms, kept := files[migrations.Chatroom], files[migrations.Persister]
	p.rooms, p.outbox = store.NewSQLite(rooms), outbox.SQLite{DB: rooms.Writer, Read: rooms.Reader}
	p.persister = persister.NewSQLite(kept.Writer, kept.Reader)
	p.relay = func(ctx context.Context, owner string) error {
		t := bus.NewInProcess(nil)
		t.KeepDead(persister.NewDeadLetters(kept.Writer, kept.Reader).Put)
		return errors.Join(p.relayInProcess(ctx, t, owner), t.Close())
	}
	return p, nil
}

// relayInProcess is the relay and the persister of up, without a chat room.
func (p *stored) relayInProcess(ctx context.Context, t bus.Transport, owner string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keeper := persister.New(persister.Options{
		Store: p.persister, Logger: slog.New(slog.DiscardHandler), Announce: func(context.Context, events.MessagesStored) error { return nil },
	})
	ended := make(chan error, 2)
	// What is in flight when the consumer stops is still stored, so the persister ends last.
	storing, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { ended <- keeper.Run(storing) }()
	go func() {
		defer stop()
		ended <- bus.RunConsumer(ctx, t, func(ctx context.Context, ds []bus.Delivery) []error {
			raw := make([][]byte, len(ds))
			for i, d := range ds {
				raw[i] = d.Raw
			}
			return keeper.Handle(ctx, raw)
		}, bus.Options{})
	}()
	err := p.relayBetween(ctx, t, owner)
	return errors.Join(err, <-ended, <-ended)
}

// openStoredBeside opens the files for reading.
func openStoredBeside(ctx context.Context, dir string) (*stored, error) {
	rooms, err := openBeside(ctx, dir, migrations.Chatroom)
	if err != nil {
		return nil, err
	}
	kept, err := openBeside(ctx, dir, migrations.Persister)
	if err != nil {
		return nil, errors.Join(err, rooms.Close())
	}
	chat := store.NewSQLite(&db.SQLite{Reader: rooms})
	epoch, err := chat.KnownEpoch(ctx)
	if err != nil {
		return nil, errors.Join(err, rooms.Close(), kept.Close())
	}
	return &stored{
		installation: epoch,
		rooms:        chat, outbox: outbox.SQLite{Read: rooms}, persister: persister.NewSQLite(nil, kept),
		close: func() error { return errors.Join(rooms.Close(), kept.Close()) },
	}, nil
}
