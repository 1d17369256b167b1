package quick

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// socketDir is where wg looks for the sockets of engines in user space.
const socketDir = "/var/run/wireguard"

// hearWg runs "wg addconf" with a file on a socket of ours and returns what it asked for; ok is whether it took the file.
func hearWg(t *testing.T, text string) (asked string, ok bool) {
	t.Helper()
	path, err := exec.LookPath("wg")
	if err != nil {
		t.Fatal("wg of wireguard-tools is missing")
	}
	if err := os.MkdirAll(socketDir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("wq%x", time.Now().UnixNano()&0xfffffffffff)
	l, err := net.Listen("unix", filepath.Join(socketDir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string)
	go func() {
		defer close(heard)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			var b strings.Builder
			r := bufio.NewReader(c)
			for line, err := r.ReadString('\n'); err == nil && line != "\n"; line, err = r.ReadString('\n') {
				b.WriteString(line)
			}
			_, _ = c.Write([]byte("errno=0\n\n"))
			_ = c.Close()
			if b.Len() > 0 { // wg connects once more, to see that somebody listens
				heard <- b.String()
			}
		}
	}()
	file := filepath.Join(t.TempDir(), "wg.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() {
		err := exec.CommandContext(t.Context(), path, "addconf", name, file).Run()
		_ = l.Close()
		ran <- err
	}()
	for request := range heard {
		asked += request
	}
	return asked, <-ran == nil
}

// asked is what wg would ask for, told from what we parsed.
func (c *Config) asked() string {
	var b strings.Builder
	b.WriteString("set=1\n")
	if i := c.Interface; !i.PrivateKey.IsZero() {
		fmt.Fprintf(&b, "private_key=%s\n", hex.EncodeToString(i.PrivateKey[:]))
	}
	fmt.Fprintf(&b, "listen_port=%d\nfwmark=%d\n", c.Interface.ListenPort, c.Interface.FwMark)
	for i := range c.Peers {
		p := &c.Peers[i]
		fmt.Fprintf(&b, "public_key=%s\n", hex.EncodeToString(p.PublicKey[:]))
		if !p.PresharedKey.IsZero() {
			fmt.Fprintf(&b, "preshared_key=%s\n", hex.EncodeToString(p.PresharedKey[:]))
		}
		if !p.Endpoint.IsZero() {
			fmt.Fprintf(&b, "endpoint=%s\n", p.Endpoint)
		}
		if p.PersistentKeepalive != 0 {
			fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", p.PersistentKeepalive)
		}
		b.WriteString("replace_allowed_ips=true\n")
		for _, prefix := range p.AllowedIPs {
			fmt.Fprintf(&b, "allowed_ip=%s\n", prefix)
		}
	}
	return b.String()
}

// TestParseAsWg gives files to wg and to Parse: what one takes the other takes, and understands the same. Ports
// beyond 65535 are not among them: the C library takes them modulo 65536.
func TestParseAsWg(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: wg looks for sockets in " + socketDir)
	}
	// The interface has all three settings, since wg leaves out those that a file does not have and we do not tell apart.
	head := "[Interface]\nPrivateKey=" + key1 + "\nListenPort = 51820\nFwMark = 0x1F\n"
	peer := "[Peer]\nPublicKey = " + key2 + "\n"
	for _, text := range []string{
		head,
		"# c\n\n" + strings.ToUpper("[interface]\nlistenport=") + "065535 # c\nfwmark=OFF\nprivatekey = " + key3 + "#",
		head + "ListenPort = 0\nFwMark = 4294967295\r\n",
		head + peer + "PresharedKey = " + key3 + "\nAllowedIPs = 10.0.0.0/8 , 192.0.2.1,::/0\nAllowedIPs=fd00::1\nEndpoint=[::1]:1\nPersistentKeepalive=65535\n",
		head + peer + "Endpoint = 127.0.0.1:65535\n[peer]\nPublicKey = " + key3 + "\nAllowedIPs = 0.0.0.0/0, ::ffff:1.2.3.0/120, 10.0.0.0/08\n",
		"[Interface]\nPrivateKey = " + key1[:43] + "\n", "[Interface]\nPrivateKey = " + key1[:42] + "l=\n", "[Interface]\nPrivateKey =\n",
		"[Interface]\nListenPort =\n", "[Interface]\nListenPort = x y z\n",
		"[Interface]\nFwMark = 0X10\n", "[Interface]\nFwMark = 0x100000000\n", "[Interface]\nFwMark = -1\n", "[Interface]\nFwMark = on\n",
		"[Interface]\nNonsense = 1\n", "Nonsense\n", "ListenPort = 1\n", "[Interface\n", "[Interface]\nPublicKey = " + key1 + "\n",
		head + "[Peer]\n", head + "[Peer]\nPublicKey = " + key1[1:] + "\n", head + peer + "ListenPort = 1\n",
		head + peer + "PresharedKey = 0\n", head + peer + "AllowedIPs = 10.0.0.0/33\n", head + peer + "AllowedIPs = ::/129\n",
		head + peer + "AllowedIPs = 10.0.0.0/8,\n", head + peer + "AllowedIPs =\n", head + peer + "AllowedIPs = 10.0.0/8\n", head + peer + "AllowedIPs = 10.0.0.0/\n",
		head + peer + "AllowedIPs = 010.0.0.0/8\n", head + peer + "AllowedIPs = fe80::1%lo\n", head + peer + "AllowedIPs = host\n",
		head + peer + "Endpoint = 127.0.0.1\n", head + peer + "Endpoint = [::1]\n", head + peer + "Endpoint = [::1:5\n",
		head + peer + "Endpoint = 127.0.0.1:\n",
		head + peer + "PersistentKeepalive = 65536\n", head + peer + "PersistentKeepalive = -1\n", head + peer + "PersistentKeepalive =\n",
	} {
		want, taken := hearWg(t, text)
		c, err := Parse("f", []byte(text))
		if taken != (err == nil) {
			t.Errorf("%s\nwg takes it: %v; we: %v", text, taken, err)
			continue
		}
		if err == nil && c.asked() != want {
			t.Errorf("%s\nwg asks for\n%s\nwe would for\n%s", text, want, c.asked())
		}
		var b bytes.Buffer
		if err != nil || c.Write(&b) != nil {
			continue
		}
		// What we write, wg reads.
		if again, ok := hearWg(t, b.String()); !ok || !sameBut0(again, want) {
			t.Errorf("of\n%s\nwg understands\n%s\nnot\n%s", b.String(), again, want)
		}
	}
}

// sameBut0 compares what wg asks for but for settings that are 0 and that Write leaves out.
func sameBut0(a, b string) bool {
	zero := strings.NewReplacer("listen_port=0\n", "", "fwmark=0\n", "")
	return zero.Replace(a) == zero.Replace(b)
}
