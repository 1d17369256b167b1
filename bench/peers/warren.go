//go:build linux

package peers

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/warrenvpn/warren/bench/lab"
)

// warren is two daemons with SAs keyed by hand.
type warren struct {
	program string // path of the daemon's binary
}

func (warren) Name() string { return "warren" }

func (w warren) Version(context.Context) (string, error) {
	version, err := goVersion(w.program)
	return version + ", aes128gcm16", err
}

// warrenDevice is the TUN device of both ends; each has its own namespace.
const warrenDevice = "warren0"

// staticKeys is one end's configuration; [staticEnd] fills it in.
const staticKeys = `underlay: {addresses: [%[1]s], udp_port: 4500}
vrfs:
  main: {port: {tun: ` + warrenDevice + `, addresses: [%[2]s/16]}}
tunnels:
  peer:
    ipsec:
      remote: %[3]s
      encap: always
      static:
        esp: aes128gcm16
        state_file: %[4]s
        out: {spi: %[5]s}
        in:  {spi: %[6]s}
    routes: [%[7]s]
`

// staticSA is one direction: SPI and key as the configuration writes them.
func staticSA(spi uint32) (string, error) {
	var key [16 + 4]byte // AES-128 and the salt of RFC 4106
	if _, err := rand.Read(key[:]); err != nil {
		return "", fmt.Errorf("generate an ESP key: %w", err)
	}
	return fmt.Sprintf(`%#08x, key: "0x%x"`, spi, key), nil
}

func (w warren) Up(ctx context.Context, n *Network) (string, error) {
	there, err := staticSA(0xc1890b6e)
	if err != nil {
		return "", err
	}
	back, err := staticSA(0xcf2426b6)
	if err != nil {
		return "", err
	}
	state := func(end string) string { return filepath.Join(n.Dir(), end+".iv") }
	ends := []struct {
		host         *lab.Host
		config       string
		remotePrefix string
	}{
		{n.A, fmt.Sprintf(staticKeys, lab.PairA4, innerA, lab.PairB4, state("a"), there, back, netB), netB},
		{n.B, fmt.Sprintf(staticKeys, lab.PairB4, innerB, lab.PairA4, state("b"), back, there, netA), netA},
	}
	for _, end := range ends {
		if err := w.start(ctx, n, end.host, end.config, end.remotePrefix); err != nil {
			return "", err
		}
	}
	return warrenDevice, nil
}

// start runs one daemon and leads the other end's net to its device.
func (w warren) start(ctx context.Context, n *Network, h *lab.Host, config, remotePrefix string) error {
	file := filepath.Join(n.Dir(), h.Name+".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return fmt.Errorf("write the configuration of host %s: %w", h.Name, err)
	}
	// Both daemons share the machine's file system, so each needs a control socket of its own.
	daemon, err := h.Start(w.program, "run", "--socket", filepath.Join(n.Dir(), h.Name+".sock"), file)
	if err != nil {
		return err
	}
	return daemon.Wait(ctx, "the device of warren", func() error {
		return h.IP("route", "replace", remotePrefix, "dev", warrenDevice)
	})
}
