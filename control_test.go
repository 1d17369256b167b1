package warren

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOneControlSocket: of several engines that find the same stale socket one gets it, and the others leave it alone.
func TestOneControlSocket(t *testing.T) {
	for round := range 30 {
		path := filepath.Join(t.TempDir(), "w.sock")
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		_ = stale.Close()
		var all sync.WaitGroup
		got := make(chan net.Listener, 8)
		for range cap(got) {
			all.Go(func() {
				ln, err := ListenControl(t.Context(), path)
				switch {
				case err == nil:
					got <- ln
				case !strings.Contains(err.Error(), "in use by another warren"):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(got) != 1 {
			t.Fatalf("round %d: %d have the socket", round, len(got))
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		_ = conn.Close()
		_ = (<-got).Close()
	}
}

func TestControlSocketWithALongPath(t *testing.T) {
	_, err := ListenControl(t.Context(), filepath.Join(t.TempDir(), strings.Repeat("x", 108)))
	if err == nil || !strings.Contains(err.Error(), "want at most 107") {
		t.Error(err)
	}
}

// TestWhatAnswersIsNoEngine: the client says which socket it was, and what happened there, in words of ours.
func TestWhatAnswersIsNoEngine(t *testing.T) {
	silent := make(chan struct{})
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		want   string
	}{
		{"goes away", func(c net.Conn) {}, "went away before it had answered"},
		{"goes away in the middle", func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"state\":")
		}, "went away before it had answered"},
		{"says something else", func(c net.Conn) { fmt.Fprint(c, "220 mail.example ESMTP\r\n") }, "malformed HTTP"},
		{"says nothing", func(c net.Conn) { <-silent }, "has not answered within 20ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "w.sock")
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var serving sync.WaitGroup
			defer serving.Wait()
			serving.Go(func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 1024))
				c.answer(conn)
			})
			client := NewClient(path)
			if c.name == "says nothing" {
				client.http.Timeout = 20 * time.Millisecond
				defer close(silent)
			}
			_, err = client.Status(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "http://") {
				t.Errorf("%v; want %q and the path", err, c.want)
			}
		})
	}
}

// TestSocketOfRoot: who asks without a name, and has no engine, is told of root's.
func TestSocketOfRoot(t *testing.T) {
	own, roots := filepath.Join(t.TempDir(), "own.sock"), filepath.Join(t.TempDir(), "root.sock")
	told := func(path, own string) bool {
		err := nobodyOn(path, own, roots)
		if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), path) {
			t.Error(err)
		}
		return strings.Contains(err.Error(), "sudo")
	}
	if told(own, own) {
		t.Error("told of a socket that is not there")
	}
	ln, err := net.Listen("unix", roots)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if !told(own, own) || told("/else/w.sock", own) || told(roots, roots) {
		t.Error("it is for those who named no socket, and are not root")
	}
}

// TestLockOfAFolder: without a lock the socket is made all the same.
func TestLockOfAFolder(t *testing.T) {
	folder := t.TempDir()
	unlock := lockFolder(t.Context(), folder)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // in place of waiting
	lockFolder(ctx, folder)()
	unlock()
	lockFolder(t.Context(), filepath.Join(folder, "none"))()
	lockFolder(t.Context(), folder)() // it is free again
}
