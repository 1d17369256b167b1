package tun

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/netns"
	"github.com/warrenvpn/warren/dataplane/internal/wait"
)

// What Config leaves at zero.
const (
	DefaultName = "warren%d"
	DefaultMTU  = 1500
	// DefaultTxQueueLen holds what a sender hands over while the worker waits for a processor. The kernel's own default
	// of 500 overflows there.
	DefaultTxQueueLen = 4000
)

// Bounds of the MTU in bytes: RFC 791 section 3.2, RFC 8200 section 5, and what the kernel takes.
const (
	minMTU  = 68
	minMTU6 = 1280
	maxMTU  = 65535
)

// Config says what device to make. The zero Config is a device of one queue without addresses in the current namespace.
type Config struct {
	// Name of the device, at most 15 bytes. A %d in it becomes the first number that is free.
	Name string
	// NetNS is the network namespace to make it in: a name as in /run/netns, or a path. Empty: the current one.
	NetNS string
	// MTU in bytes.
	MTU int
	// Addresses are the kernel's own at this device; it routes their networks into it.
	Addresses []netip.Prefix
	// Queues is how many receive queues there are, one for each worker; 1 if zero. The kernel keeps a flow in one.
	Queues int
	// TxQueueLen is how many packets each queue holds.
	TxQueueLen int
	// Taken are the queues of the device as another process has lent them (Device.Lend): it exists, and stays. MTU zero leaves it its
	// MTU. Open takes them, whether it fails or not.
	Taken []int
	// Logger is told once what the kernel lacks. Nil: nobody is.
	Logger *slog.Logger

	// lacks makes the kernel poorer than it is.
	lacks features
}

// complete returns the Config with its defaults, or says what is wrong with it.
func (c Config) complete() (Config, error) {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.MTU == 0 && len(c.Taken) > 0 {
		c.MTU = keepMTU
	} else if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.TxQueueLen == 0 {
		c.TxQueueLen = DefaultTxQueueLen
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.Name) >= unix.IFNAMSIZ || strings.ContainsAny(c.Name, "/: \t\n") || c.Name == "." || c.Name == "..":
		return c, fmt.Errorf("%q is no name for a device; want 1 to %d bytes without slash, colon or space", c.Name, unix.IFNAMSIZ-1)
	case c.Queues < 0 || c.Queues > dataplane.MaxWorkers:
		return c, fmt.Errorf("%d queues, want 1 to %d", c.Queues, dataplane.MaxWorkers)
	case c.TxQueueLen < 0:
		return c, fmt.Errorf("a queue of %d packets, want at least 1", c.TxQueueLen)
	}
	for _, a := range c.Addresses {
		if !a.IsValid() || a.Addr().Is4In6() || a.Addr().Zone() != "" {
			return c, fmt.Errorf("%v is no address with a prefix length", a)
		}
	}
	if c.MTU == keepMTU {
		return c, nil
	}
	return c, checkMTU(c.MTU, c.Addresses)
}

// keepMTU stands for the MTU that a device has.
const keepMTU = -1

func checkMTU(mtu int, addresses []netip.Prefix) error {
	if mtu < minMTU || mtu > maxMTU {
		return fmt.Errorf("MTU of %d bytes, want %d to %d", mtu, minMTU, maxMTU)
	}
	for _, a := range addresses {
		if a.Addr().Is6() && mtu < minMTU6 {
			return fmt.Errorf("MTU of %d bytes, want at least %d with the IPv6 address %v", mtu, minMTU6, a)
		}
	}
	return nil
}

// Device is a TUN device of ours. It implements [dataplane.Port].
type Device struct {
	name      string
	addresses []netip.Prefix
	mtu       atomic.Int32
	has       features
	vnetLen   int // length of the virtio network header in bytes; 0 without
	fds       []int
	readers   []dataplane.PortReader
	waker     *wait.Waker
	link      netlink.Link
	closed    atomic.Bool

	// mu guards what follows. Close holds it to its end.
	mu      sync.Mutex
	netlink *netlink.Handle
	users   []*user
	writers int // how many there have been
}

// user is a reader or a writer. Its mutex is held while it uses the descriptor, for the length of one call. It looks at
// closed first: behind that the descriptor's number may be somebody else's.
type user struct {
	mu  sync.Mutex
	dev *Device
	fd  int
}

var _ dataplane.Port = (*Device)(nil)

// Open makes a device, gives it what the Config says and brings it up. It needs CAP_NET_ADMIN and /dev/net/tun; without
// them the error is an [*UnavailableError]. A device of that name that is there already is left alone: [ErrExists].
func Open(cfg Config) (*Device, error) {
	taken := cfg.Taken
	cfg, err := cfg.complete()
	if err != nil {
		(&Device{fds: taken}).release()
		return nil, fmt.Errorf("open TUN device: %w", err)
	}
	d := &Device{addresses: cfg.Addresses, fds: slices.Clone(taken)}
	err = netns.Do(cfg.NetNS, func() error {
		attach := d.attach
		if len(taken) > 0 {
			attach = d.take
		}
		if err := attach(&cfg); err != nil {
			return err
		}
		return d.configure(&cfg)
	})
	if err == nil {
		d.waker, err = wait.NewWaker()
	}
	if err != nil {
		d.release()
		return nil, fmt.Errorf("open TUN device %q: %w", cfg.Name, unavailable(err))
	}
	for _, fd := range d.fds {
		s := d.waker.Sleeper(fd, -1)
		d.readers = append(d.readers, &reader{user: d.newUser(fd), sleeper: s, pace: moderation{pause: s.Pause}})
	}
	if lacking := d.has.lacking(cfg.Queues); lacking != "" {
		cfg.Logger.Warn("TUN device works without some of what makes it fast: the kernel lacks it", "device", d.name, "lacking", lacking)
	}
	return d, nil
}

// Name returns the device's name.
func (d *Device) Name() string { return d.name }

// MTU returns the device's MTU in bytes, as it was last set here.
func (d *Device) MTU() int { return int(d.mtu.Load()) }

// Readers returns the receive queues: as many as were asked for, or one where the kernel has no more.
func (d *Device) Readers() []dataplane.PortReader { return d.readers }

// NewWriter returns a sender for one worker's use.
func (d *Device) NewWriter() dataplane.PortWriter {
	d.mu.Lock()
	fd := d.fds[d.writers%len(d.fds)]
	d.writers++
	d.mu.Unlock()
	return newWriter(d.newUser(fd))
}

func (d *Device) newUser(fd int) *user {
	u := &user{dev: d, fd: fd}
	d.mu.Lock()
	d.users = append(d.users, u)
	d.mu.Unlock()
	return u
}

// Close takes the device away. When it returns, no reader or writer uses it any more.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Swap(true) {
		return nil
	}
	d.waker.Wake()
	for _, u := range d.users {
		u.mu.Lock() // until its call is over; the next one will see that we are closed
		u.fd = -1
		u.mu.Unlock()
	}
	d.users = nil
	d.release()
	return nil
}

// release gives back what the system lent, however far Open came. The device goes with its last descriptor.
func (d *Device) release() {
	for _, fd := range d.fds {
		_ = unix.Close(fd)
	}
	if d.netlink != nil {
		d.netlink.Close()
	}
	if d.waker != nil {
		d.waker.Close()
	}
}
