package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

// clientConfig says which server a client command talks to, and as whom.
type clientConfig struct {
	server string
	name   string // empty: not given
	token  string
	tls    *tls.Config
}

// declareClient declares what the commands for people share.
func declareClient(s *config.Set) func() (clientConfig, error) {
	server := s.String("server", "ws://localhost:8080", "the chat room's address",
		config.Value("URL"), config.Check(config.URL("ws", "wss", "http", "https")))
	name := s.String("name", "", "who you are, on a server that runs open", config.Value("NAME"), config.Check(config.Optional(userName)))
	token := s.String("token", "", "who you are, on a server that wants a token (a JWT)", config.Secret(), config.Value("JWT"))
	ca := declareCA(s)
	return func() (clientConfig, error) {
		trust, err := ca()
		return clientConfig{server: *server, name: *name, token: *token, tls: trust}, err
	}
}

func (c clientConfig) anonymous() bool { return c.name == "" && c.token == "" }

// options are those of the client for this configuration.
func (c clientConfig) options(agent string) client.Options {
	return client.Options{Server: c.server, Name: c.name, Token: c.token, TLS: c.tls, Agent: "gochat " + agent}
}

// user names whom a message is from, for the name of a queue: one user's messages must not go out as another's.
func (c clientConfig) user() string {
	if c.token == "" {
		return c.name
	}
	if parts := strings.Split(c.token, "."); len(parts) == 3 {
		var claims struct {
			Subject string `json:"sub"`
		}
		if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil && json.Unmarshal(b, &claims) == nil && claims.Subject != "" {
			return claims.Subject
		}
	}
	sum := sha256.Sum256([]byte(c.token))
	return "token-" + hex.EncodeToString(sum[:6])
}

// serverName is a server's address without a password.
func serverName(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "the server"
	}
	return u.Redacted()
}

func userName(text string) error {
	if ferr := frame.CheckName(text); ferr != nil {
		return errors.New(ferr.Message)
	}
	return nil
}

// roomWord checks a room given on the command line.
func roomWord(word string) error {
	if !frame.ValidRoom(word) {
		return usagef("%q is no room: 1 to %d of letters, digits, '.', '_', '-'", word, frame.MaxRoom)
	}
	return nil
}

// stateDir is where messages wait for a server.
func stateDir(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gochat"), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("--queue-dir: no folder for waiting messages is known (%w); name one", err)
	}
	return filepath.Join(dir, "gochat"), nil
}

// connectionText tells a person why there is no connection, without the layers that the error passed.
func connectionText(err error) string {
	if err == nil {
		return "no reason known"
	}
	err = tlsfiles.Explain(err)
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "no such host: " + clean(dns.Name)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		text := op.Err.Error()
		if i := strings.LastIndex(text, ": "); i >= 0 {
			text = text[i+2:]
		}
		return clean(text)
	}
	return clean(err.Error())
}
