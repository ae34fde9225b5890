package bus

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Explain tells a person why there is no connection to the broker at host (host:port) and, after the last "; ", what to
// do. err must come from connecting: the library's error of parsing a URL may hold the password.
func Explain(host string, err error) error {
	var refused *amqp.Error
	var dns *net.DNSError
	var hint string
	switch {
	case errors.As(err, &refused) && refused.Code == amqp.AccessRefused:
		hint = "the user or the password is wrong, or the user may not do this"
	case errors.As(err, &refused) && refused.Code == amqp.NotAllowed:
		hint = "the virtual host is missing, or not open to the user; `task up` makes it"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "is RabbitMQ running? `task up` starts one"
	case errors.As(err, &dns):
		hint = "is the name right?"
	default:
		return fmt.Errorf("RABBITMQ_URL: cannot use %s: %w", host, err)
	}
	return fmt.Errorf("RABBITMQ_URL: cannot use %s: %w; %s", host, err, hint)
}
