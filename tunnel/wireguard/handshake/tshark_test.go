//go:build linux

package handshake

import (
	"encoding/hex"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestTsharkDecryptsWithTheKeyLog has tshark follow a handshake, with a pre-shared key, and read the packet after it, by the
// key log of either side.
func TestTsharkDecryptsWithTheKeyLog(t *testing.T) {
	lab.Require(t, "tshark")
	w := newPair(t, 1, func(c *PeerConfig) { c.PresharedKey = PresharedKey{7} })
	var logs [2]string
	for i, h := range w.hosts {
		h.d.keyLog = func(e EphemeralKeys) { logs[i] += e.KeyLog() }
	}
	payload := "carried by WireGuard"
	w.hosts[0].send(w.peers[0], string(datagram(t, "10.0.0.1", "10.0.0.2", 4000, []byte(payload))))
	w.run(time.Second)

	dir := t.TempDir()
	capture := filepath.Join(dir, "capture.pcap")
	w.capture(capture)
	for i, log := range logs {
		keys := filepath.Join(dir, "keys")
		if err := os.WriteFile(keys, []byte(log), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "tshark", "-n", "-r", capture, "-o", "wg.keylog_file:"+keys,
			"-T", "fields", "-e", "wg.type", "-e", "wg.handshake_ok", "-e", "data.data").Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[1], "2\t1") && !strings.HasPrefix(lines[1], "2\tTrue") ||
			!strings.Contains(lines[2], hex.EncodeToString([]byte(payload))) {
			t.Errorf("with the keys of %s tshark says\n%s", w.hosts[i].name, out)
		}
	}
}

// capture writes all that was sent into a file.
func (w *pair) capture(name string) {
	w.t.Helper()
	f, err := os.Create(name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p := pcapgo.NewWriter(f)
	if err := p.WriteFileHeader(65535, layers.LinkTypeIPv4); err != nil {
		w.t.Fatal(err)
	}
	for _, s := range w.sent {
		b := datagram(w.t, s.from.Addr().String(), s.to.Addr().String(), s.from.Port(), s.b)
		if err := p.WritePacket(gopacket.CaptureInfo{Timestamp: s.at, CaptureLength: len(b), Length: len(b)}, b); err != nil {
			w.t.Fatal(err)
		}
	}
}

// datagram is a UDP datagram in IPv4, between the same ports.
func datagram(t *testing.T, from, to string, port uint16, payload []byte) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to)}
	udp := &layers.UDP{SrcPort: layers.UDPPort(port), DstPort: layers.UDPPort(port)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
