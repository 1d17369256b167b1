package tun

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// cloneDevice is what a process opens to get a TUN device.
const cloneDevice = "/dev/net/tun"

// features are what a kernel's TUN driver may have, or lack.
type features struct {
	multiQueue, vnet, tso, uso bool
}

// lacking names what is missing for a device of so many queues.
func (f features) lacking(queues int) string {
	var names []string
	if queues > 1 && !f.multiQueue {
		names = append(names, "multi-queue")
	}
	switch {
	case !f.vnet:
		names = append(names, "virtio network header")
	case !f.tso:
		names = append(names, "TCP segmentation offload (TSO)", "UDP segmentation offload (USO)")
	case !f.uso:
		names = append(names, "UDP segmentation offload (USO)")
	}
	return strings.Join(names, ", ")
}

// attach makes the device with all its queues. It runs in the device's network namespace.
func (d *Device) attach(cfg *Config) error {
	fd, err := d.openQueue()
	if err != nil {
		return err
	}
	flags := d.offered(fd, cfg)
	// The first queue must be the device's first, or we would join somebody else's persistent device.
	name, err := setInterface(fd, cfg.Name, flags|unix.IFF_TUN_EXCL)
	if errors.Is(err, unix.EBUSY) {
		return existing(cfg.Name)
	}
	if err != nil {
		return fmt.Errorf("make the device: %w", err)
	}
	d.name = name
	return d.complete(cfg, flags)
}

// complete attaches the queues that are missing and says what packets we take.
func (d *Device) complete(cfg *Config, flags uint16) error {
	for len(d.fds) < cfg.Queues && d.has.multiQueue {
		fd, err := d.openQueue()
		if err != nil {
			return err
		}
		if _, err := setInterface(fd, d.name, flags); err != nil {
			return fmt.Errorf("attach queue %d: %w", len(d.fds), err)
		}
	}
	if d.has.vnet {
		return d.setOffloads(cfg)
	}
	return nil
}

func (d *Device) openQueue() (int, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &cloneError{err}
	}
	d.fds = append(d.fds, fd)
	return fd, nil
}

// offered notes in d.has what the driver has of what we want, and returns the flags to ask for.
func (d *Device) offered(fd int, cfg *Config) uint16 {
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	has, err := unix.IoctlGetUint32(fd, unix.TUNGETFEATURES)
	if err != nil {
		return flags
	}
	if cfg.Queues > 1 && has&unix.IFF_MULTI_QUEUE != 0 && !cfg.lacks.multiQueue {
		d.has.multiQueue = true
		flags |= unix.IFF_MULTI_QUEUE
	}
	if has&unix.IFF_VNET_HDR != 0 && !cfg.lacks.vnet {
		d.has.vnet, d.vnetLen = true, vnetLen
		flags |= unix.IFF_VNET_HDR
	}
	return flags
}

func setInterface(fd int, name string, flags uint16) (string, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return "", err
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return "", err
	}
	return ifr.Name(), nil
}

// setOffloads says which unfinished packets we take: as many kinds as the kernel knows.
func (d *Device) setOffloads(cfg *Config) error {
	const (
		csum = unix.TUN_F_CSUM
		tso  = csum | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
		uso  = tso | unix.TUN_F_USO4 | unix.TUN_F_USO6
	)
	for _, try := range []struct {
		mask int
		has  features
	}{
		{uso, features{tso: true, uso: true}}, {tso, features{tso: true}}, {csum, features{}}, {0, features{}},
	} {
		if try.has.tso && cfg.lacks.tso || try.has.uso && cfg.lacks.uso {
			continue
		}
		err := unix.IoctlSetInt(d.fds[0], unix.TUNSETOFFLOAD, try.mask)
		if err == nil {
			d.has.tso, d.has.uso = try.has.tso, try.has.uso
			break
		}
		if !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("set offloads %#x: %w", try.mask, err)
		}
	}
	return nil
}
