package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

// Settings that several commands share are declared here, once, so that one variable has one meaning. Each function
// declares its settings and returns what reads them after the command line was parsed.

// knownVariables are the variables of all commands.
func knownVariables() []string {
	var names []string
	for _, s := range allSets() {
		names = append(names, s.EnvNames()...)
	}
	return names
}

// allSets declares the settings of every command.
func allSets() []*config.Set {
	var sets []*config.Set
	for _, c := range commands() {
		s := config.New(c.name)
		c.setup(s)
		sets = append(sets, s)
	}
	return sets
}

// namedURL is a URL with a possible password and the setting that it came from.
type namedURL struct {
	url    string
	origin string // DATABASE_URL
}

func declareDatabase(s *config.Set) func() namedURL {
	url := s.String("database-url", "postgres://gochat:gochat@localhost:5432/gochat?sslmode=disable",
		"the PostgreSQL database", config.Env("DATABASE_URL"), config.Value("URL"), config.Check(config.URL("postgres", "postgresql")))
	return func() namedURL { return namedURL{*url, s.Origin("database-url")} }
}

// brokerConfig says where RabbitMQ is.
type brokerConfig struct {
	namedURL
	prefix string // of every exchange and queue
}

func declareBroker(s *config.Set) func() brokerConfig {
	url := s.String("rabbitmq-url", "amqp://gochat:gochat@localhost:5672/gochat",
		"the RabbitMQ server and its virtual host", config.Env("RABBITMQ_URL"), config.Value("URL"), config.Check(config.URL("amqp", "amqps")))
	prefix := s.String("rabbitmq-prefix", "",
		"goes before the name of every exchange and queue, so that several installations fit on one virtual host",
		config.Check(config.Optional(topologyPrefix)))
	return func() brokerConfig {
		return brokerConfig{namedURL{*url, s.Origin("rabbitmq-url")}, *prefix}
	}
}

// topologyPrefix keeps names inside what RabbitMQ takes (255 bytes) and what operators can type.
func topologyPrefix(text string) error {
	if len(text) > 64 {
		return fmt.Errorf("%q is longer than 64 characters", text)
	}
	for _, r := range text {
		if !isNameRune(r) {
			return fmt.Errorf("%q may hold letters, digits, '.', '_' and '-' only", text)
		}
	}
	return nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// declareLog declares how the services log. The logger writes to standard error.
func declareLog(s *config.Set) func(io.Writer) *slog.Logger {
	level := s.String("log-level", "info", "the least severe lines that are logged: debug, info, warn or error",
		config.Value("LEVEL"), config.Check(config.OneOf("debug", "info", "warn", "error")))
	format := s.String("log-format", "text", "how lines are logged: text or json",
		config.Value("FORMAT"), config.Check(config.OneOf("text", "json")))
	return func(w io.Writer) *slog.Logger {
		var opts slog.HandlerOptions
		var least slog.Level
		if err := least.UnmarshalText([]byte(*level)); err == nil { // checked above
			opts.Level = least
		}
		if *format == "json" {
			return slog.New(slog.NewJSONHandler(w, &opts))
		}
		return slog.New(slog.NewTextHandler(w, &opts))
	}
}

// declareTLSFiles declares the files that turn TLS on for a listener.
func declareTLSFiles(s *config.Set) func() (certFile, keyFile string) {
	cert := s.String("tls-cert", "", "file with the listener's certificate, PEM; turns TLS on", config.Value("FILE"))
	key := s.String("tls-key", "", "file with the key of --tls-cert, PEM", config.Value("FILE"))
	s.Together("tls-cert", "tls-key", cert, key)
	return func() (string, string) { return *cert, *key }
}

// declareServerTLS declares the same files for who listens. What it returns gives nil where they are not set.
func declareServerTLS(s *config.Set) func(*slog.Logger) (*tls.Config, error) {
	files := declareTLSFiles(s)
	return func(logger *slog.Logger) (*tls.Config, error) {
		cert, key := files()
		if cert == "" {
			return nil, nil
		}
		pair, err := tlsfiles.Load(cert, key, logger)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Origin("tls-cert"), err)
		}
		return pair.ServerConfig(), nil
	}
}

// declareCA declares whom a client trusts. What it returns gives a configuration for any TLS connection.
func declareCA(s *config.Set) func() (*tls.Config, error) {
	file := s.String("ca", "", "file with the only certificate authorities to trust, PEM; without it the system's", config.Value("FILE"))
	return func() (*tls.Config, error) {
		cfg, err := tlsfiles.ClientConfig(*file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Origin("ca"), err)
		}
		return cfg, nil
	}
}

// historyConfig says where the gRPC history is.
type historyConfig struct {
	addr        string
	origin      string
	credentials credentials.TransportCredentials
}

// declareHistory declares the way to the gRPC history; ca is what [declareCA] returned.
func declareHistory(s *config.Set, ca func() (*tls.Config, error)) func() (historyConfig, error) {
	addr := s.String("history-addr", "localhost:8081", "the persister's gRPC address", config.Value("HOST:PORT"), config.Check(config.DialAddress))
	secure := s.Bool("history-tls", false, "speak TLS with --history-addr")
	return func() (historyConfig, error) {
		c := historyConfig{addr: *addr, origin: s.Origin("history-addr"), credentials: insecure.NewCredentials()}
		if *secure {
			cfg, err := ca()
			if err != nil {
				return c, err
			}
			c.credentials = tlsfiles.GRPC(cfg)
		}
		return c, nil
	}
}

func declareListen(s *config.Set, def, help string) func() listenAddress {
	addr := s.String("listen", def, help, config.PerCommand(), config.Value("ADDRESS"), config.Check(config.ListenAddress))
	return func() listenAddress { return listenAddressOf(s, "listen", *addr) }
}
