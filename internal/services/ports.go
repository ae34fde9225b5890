//go:build unix

package services

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below every system's range for outgoing connections. Inside it, a client that retries while the
// server is down can be given the server's own port, and would then be connected to itself.
const (
	lowestPort = 20000
	ports      = 10000
)

// reservation keeps ports for one server through its stops and starts. It holds the UDP twins of the TCP ports: nobody
// listens there, other processes with this package see that they are taken, and the kernel frees them when we die.
type reservation []net.PacketConn

// take reserves a free port and returns it.
func (r *reservation) take() (int, error) {
	for range 100 {
		port := lowestPort + rand.IntN(ports)
		twin, err := net.ListenPacket("udp4", address(port))
		if err != nil {
			continue
		}
		if free(port) {
			*r = append(*r, twin)
			return port, nil
		}
		_ = twin.Close()
	}
	return 0, errors.New("find a free port: a hundred tries failed")
}

// takeOr returns the wanted port when one is wanted and free, else a reserved one.
func (r *reservation) takeOr(port int) (int, error) {
	if port == 0 {
		return r.take()
	}
	if !free(port) {
		return 0, fmt.Errorf("port %d is taken", port)
	}
	return port, nil
}

// ReservePort returns a free loopback port, and what gives it back. Until then no other user of this package takes it.
func ReservePort() (port int, release func(), err error) {
	var r reservation
	port, err = r.take()
	if err != nil {
		return 0, nil, err
	}
	return port, func() { _ = r[0].Close() }, nil
}

func free(port int) bool {
	l, err := net.Listen("tcp4", address(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// listens is the probe of a program that only has to take connections.
func listens(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp4", address(port))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
