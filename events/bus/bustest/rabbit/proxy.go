package rabbit

import (
	"net"
	"net/url"
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/internal/faultproxy"
)

// Proxy stands before a broker, and passes bytes until it is told otherwise.
type Proxy struct {
	*faultproxy.Proxy
	url string
}

// NewProxy starts a proxy before the broker at brokerURL; it ends with the test.
func NewProxy(tb testing.TB, brokerURL string) *Proxy {
	tb.Helper()
	u, err := amqp.ParseURI(brokerURL) // knows the default port
	if err != nil {
		tb.Fatal("no broker's URL")
	}
	through, err := url.Parse(brokerURL)
	if err != nil {
		tb.Fatal("no broker's URL")
	}
	p, err := faultproxy.New(net.JoinHostPort(u.Host, strconv.Itoa(u.Port)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	through.Host = p.Addr()
	return &Proxy{p, through.String()}
}

// URL reaches the broker through the proxy.
func (p *Proxy) URL() string { return p.url }
