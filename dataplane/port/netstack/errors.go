package netstack

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// errorsByText says which of the net package's errors stands for each of the stack's. The key is the stack's text,
// because its adapter for net.Conn hands nothing else on.
var errorsByText = map[string]error{
	(&tcpip.ErrAborted{}).String():                   net.ErrClosed,
	(&tcpip.ErrAddressFamilyNotSupported{}).String(): syscall.EAFNOSUPPORT,
	(&tcpip.ErrBadAddress{}).String():                syscall.EADDRNOTAVAIL,
	(&tcpip.ErrBadLocalAddress{}).String():           syscall.EADDRNOTAVAIL,
	(&tcpip.ErrBroadcastDisabled{}).String():         syscall.EACCES,
	(&tcpip.ErrClosedForSend{}).String():             syscall.EPIPE,
	(&tcpip.ErrConnectionAborted{}).String():         syscall.ECONNABORTED,
	(&tcpip.ErrConnectionRefused{}).String():         syscall.ECONNREFUSED,
	(&tcpip.ErrConnectionReset{}).String():           syscall.ECONNRESET,
	(&tcpip.ErrDestinationRequired{}).String():       syscall.EDESTADDRREQ,
	(&tcpip.ErrDuplicateAddress{}).String():          syscall.EEXIST,
	(&tcpip.ErrHostUnreachable{}).String():           syscall.EHOSTUNREACH,
	(&tcpip.ErrInvalidEndpointState{}).String():      syscall.EINVAL,
	(&tcpip.ErrMessageTooLong{}).String():            syscall.EMSGSIZE,
	(&tcpip.ErrNetworkUnreachable{}).String():        syscall.ENETUNREACH,
	(&tcpip.ErrNoBufferSpace{}).String():             syscall.ENOBUFS,
	(&tcpip.ErrNoNet{}).String():                     syscall.ENETUNREACH,
	(&tcpip.ErrHostDown{}).String():                  syscall.EHOSTUNREACH,
	(&tcpip.ErrNoPortAvailable{}).String():           syscall.EADDRINUSE,
	(&tcpip.ErrNotConnected{}).String():              syscall.ENOTCONN,
	(&tcpip.ErrPortInUse{}).String():                 syscall.EADDRINUSE,
	(&tcpip.ErrTimeout{}).String():                   syscall.ETIMEDOUT,
	"i/o timeout":                                    os.ErrDeadlineExceeded,
}

// errorOf returns the net package's error for one of the stack's.
func errorOf(err tcpip.Error) error {
	if e, ok := errorsByText[err.String()]; ok {
		return e
	}
	return errors.New(err.String())
}

// opError is the error of an operation on a connection as the net package would have it. closed says that the
// connection or the port was closed here.
func opError(op, network string, local, remote net.Addr, err error, closed bool) error {
	var inner *net.OpError
	switch {
	case err == nil || (err == io.EOF && !closed):
		return err
	case errors.As(err, &inner):
		err = inner.Err
	}
	if e, ok := errorsByText[err.Error()]; ok {
		err = e
	}
	if closed && err != os.ErrDeadlineExceeded {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: network, Source: local, Addr: remote, Err: err}
}

// ctxError is why a wait for ctx ended, with a Timeout method that says whether it was the deadline.
func ctxError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}
