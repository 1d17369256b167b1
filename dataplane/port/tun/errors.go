package tun

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrExists is returned where there is a network device of the name already.
var ErrExists = errors.New("there is a network device of that name already")

// UnavailableError says that this process cannot have TUN devices here: it lacks the privilege, or the system has none. It
// wraps the system's error.
type UnavailableError struct {
	// Want is what is missing, for people.
	Want string
	Err  error
}

func (e *UnavailableError) Error() string {
	return "it needs " + e.Want + "; a port that needs neither privilege nor device is `port: {netstack: …}`"
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// cloneError is a failure to open /dev/net/tun.
type cloneError struct{ err error }

func (e *cloneError) Error() string { return fmt.Sprintf("open %s: %v", cloneDevice, e.err) }
func (e *cloneError) Unwrap() error { return e.err }

// unavailable turns errors that are no fault of the Config into an UnavailableError.
func unavailable(err error) error {
	var clone *cloneError
	isClone := errors.As(err, &clone)
	switch {
	case isClone && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)):
		return &UnavailableError{"the kernel's TUN driver, and there is no " + cloneDevice + " (`modprobe tun`, or hand the device to the container)", err}
	case isClone && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)):
		return &UnavailableError{"permission to open " + cloneDevice, err}
	case errors.Is(err, unix.EPERM):
		return NoPrivilege(err)
	}
	return err
}

// NoPrivilege says that a process without privilege cannot have a TUN device, nor change the routes beside it.
func NoPrivilege(err error) error {
	return &UnavailableError{"root (CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter another network namespace)", err}
}

// existing says what the device is that is in our way. It runs in the device's network namespace.
func existing(name string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return ErrExists
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return ErrExists // and has gone since
	}
	t, ok := link.(*netlink.Tuntap)
	switch {
	case !ok:
		return fmt.Errorf("%w: of kind %q; choose another name", ErrExists, link.Type())
	case t.NonPersist:
		return fmt.Errorf("%w: another process uses it as its TUN device; end that or choose another name", ErrExists)
	case link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0:
		return fmt.Errorf("%w: a persistent TUN device that another process uses; choose another name", ErrExists)
	}
	return fmt.Errorf("%w: a persistent TUN device that nobody uses; remove it with `ip link delete %s` or choose another name", ErrExists, name)
}
