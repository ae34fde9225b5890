package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"

	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/persister"
)

// persisterConfig is all that the persister needs to know.
type persisterConfig struct {
	listen     listenAddress
	admin      listenAddress
	database   namedURL
	broker     brokerConfig
	handlers   int // consumers at once
	reflection bool
	tls        *tls.Config // of the listener; nil: no TLS
	ca         *tls.Config // for connections that this process makes
	crash      *crash      // nil: none
	disturb    func(handler) handler
	logger     *slog.Logger
}

func persisterCommand() command {
	return command{
		name: "persister", summary: "stores the events of RabbitMQ in PostgreSQL, and serves them over gRPC",
		setup: func(s *config.Set) runFunc {
			listen := declareListen(s, ":8081", "where the history is served over gRPC")
			database, broker := declareDatabase(s), declareBroker(s)
			ca := declareCA(s)
			handlers, reflection := declareHandlers(s), declareReflection(s)
			serverTLS := declareServerTLS(s)
			admin := declareAdmin(s, defaultPersisterAdmin)
			log := declareLog(s)
			crash, disturb := declareCrash(s), declareDisturb(s)
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("persister takes no words: %q", args[0])
				}
				cfg := persisterConfig{
					listen: listen(), admin: admin(), database: database(), broker: broker(),
					handlers: *handlers, reflection: *reflection, disturb: disturb, logger: log(std.err),
				}
				cfg.crash = crash(cfg.logger)
				var err error
				if cfg.ca, err = ca(); err != nil {
					return err
				}
				if cfg.tls, err = serverTLS(cfg.logger); err != nil {
					return err
				}
				return stoppedEarly(ctx, runPersister(ctx, cfg, std.out))
			}
		},
	}
}

func declareHandlers(s *config.Set) *int {
	return s.Int("handlers", 4, "consumers of the queue that work at once", config.Check(config.Between(1, 1024)))
}

func declareReflection(s *config.Set) *bool {
	return s.Bool("reflection", false, "let gRPC tools such as grpcurl ask for the services")
}

// runPersister runs the service until ctx ends.
func runPersister(ctx context.Context, cfg persisterConfig, out io.Writer) error {
	lis, err := cfg.listen.listen(ctx)
	if err != nil {
		return err
	}
	defer lis.Close() // after an orderly stop it is closed already
	a, err := assemble(ctx, "persister", cfg.logger, cfg.admin)
	if err != nil {
		return err
	}
	defer a.close()
	pool, err := a.openPool(ctx, cfg.database, migrations.Persister)
	if err != nil {
		return err
	}
	t, err := a.dialBroker(ctx, cfg.broker, "persister-"+hostName(), cfg.ca)
	if err != nil {
		return err
	}
	a.addPersister(t, lis, persisterParts{
		store: cfg.crash.persisterStore(persister.NewPostgres(pool)), disturb: cfg.disturb,
		inserters: 2, handlers: cfg.handlers, tls: cfg.tls, reflection: cfg.reflection,
	})
	return a.run(ctx, out, "gochat persister listens on "+lis.Addr().String())
}
