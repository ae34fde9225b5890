package doctor

import (
	"crypto/tls"
	"net/url"
	"strings"

	"google.golang.org/grpc/credentials"

	"github.com/rafaeldepontes/go-chat/events"
)

// Config says what to examine. Data decides the way of running: a folder of gochat up, or else PostgreSQL and RabbitMQ.
type Config struct {
	Data string // folder of the SQLite files; empty: split

	DatabaseURL string
	BrokerURL   string
	Topology    events.Topology
	BrokerTLS   *tls.Config // for amqps

	HistoryAddr        string // gRPC, host:port
	HistoryCredentials credentials.TransportCredentials

	Server    string      // ws, wss, http or https; /ws is added where it is missing
	ServerTLS *tls.Config // for wss
	Name      string      // who says hello; empty: "doctor"
	Token     string      // in the place of a name
	Origins   []string    // web origins that the chat room is told to let in; "*": any

	CertFile, KeyFile string // of a listener; empty: none
}

// Sections of the page, in their order.
const (
	sectionDatabase = "Database"
	sectionBroker   = "Broker"
	sectionMessages = "Messages"
	sectionServices = "Services"
	sectionMachine  = "Machine"
)

// New plans the checks for an installation. It touches nothing yet.
func New(c Config) *Examination {
	e := &Examination{within: checkWithin}
	if c.Data != "" {
		files := e.addFiles(c)
		e.add(sectionMessages, "dead letters", files.deadLetters, files.persister)
		e.addOutbox(files.outbox, files.chatroom, files.persister, files.owned)
		e.addServices(c, files.outbox, files.chatroom, files.owned)
	} else {
		base := e.addDatabase(c)
		b := e.addBroker(c)
		e.addDeadLetters(b)
		e.addOutbox(base.outbox, base.chatroom, base.stored)
		e.addServices(c, base.outbox, base.chatroom)
	}
	e.addMachine(c)
	return e
}

// Title names what is examined, without passwords.
func (c Config) Title() string {
	if c.Data != "" {
		return "gochat doctor: data folder " + c.Data + ", chat room " + withoutPassword(c.Server)
	}
	return "gochat doctor: PostgreSQL " + place(c.DatabaseURL) + ", RabbitMQ " + place(c.BrokerURL) + ", chat room " + withoutPassword(c.Server)
}

// place is host and path of a URL. A text that is none, such as libpq's keywords, may hold a password anywhere.
func place(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "(see its URL)"
	}
	return u.Host + strings.TrimSuffix(u.Path, "/")
}

func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(see its URL)"
	}
	u.User = nil
	u.RawQuery = ""
	return u.String()
}
