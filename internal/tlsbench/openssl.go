package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// openSSL is a server that runs all the time, nginx, and clients that do nothing but handshakes, openssl s_time.
type openSSL struct {
	s       *stage
	group   *cgroup // of both
	length  time.Duration
	address string
	pid     int // of the server
}

const nginxConf = `daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 512; }
http {
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	access_log off;
	server {
		listen %s ssl backlog=512;
		ssl_protocols TLSv1.3;
		ssl_certificate %s;
		ssl_certificate_key %s;
		ssl_client_certificate %s;
		ssl_verify_client on;
		location / { return 200 ok; }
	}
}
`

func (s *stage) newOpenSSL(length time.Duration) (*openSSL, error) {
	o := &openSSL{s: s, length: length}
	var err error
	if o.group, err = s.cgroup("openssl"); err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp4", "127.0.0.1:0") // nginx takes no port 0
	if err != nil {
		return nil, err
	}
	o.address = free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.folder, "nginx")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConf, o.address, s.paper.file("server", "crt"), s.paper.file("server", "key"), s.paper.authority)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	server := exec.Command("/usr/sbin/nginx", "-p", dir, "-c", conf, "-e", "stderr")
	server.Stderr = os.Stderr
	if err := o.group.startLoad(server); err != nil {
		return nil, fmt.Errorf("%w; install Debian's nginx-light", err)
	}
	o.pid = server.Process.Pid
	s.closes = append(s.closes, func() error {
		err := server.Process.Signal(syscall.SIGTERM)
		return errors.Join(err, server.Wait())
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp4", o.address)
		if err == nil {
			return o, c.Close()
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("nginx does not listen: %w", err)
		}
	}
}

// run counts the start of the client, too, some milliseconds of the time.
func (o *openSSL) run() (f figure, err error) {
	p := o.s.paper
	client := exec.Command("openssl", "s_time", "-connect", o.address, "-new", "-tls1_3", "-time", fmt.Sprint(max(1, int(o.length.Seconds()))),
		"-verify", "3", "-CAfile", p.authority, "-cert", p.file("client", "crt"), "-key", p.file("client", "key"))
	out, err := client.StdoutPipe()
	if err != nil {
		return f, err
	}
	begin, err := o.group.cpu()
	if err != nil {
		return f, err
	}
	start := time.Now()
	if err := o.group.startLoad(client); err != nil {
		return f, err
	}
	said := make([]byte, 0, 64<<10)
	for len(said) < cap(said) {
		n, err := out.Read(said[len(said):cap(said)])
		said = said[:len(said)+n]
		if err != nil {
			break
		}
	}
	if err := client.Wait(); err != nil {
		return f, fmt.Errorf("openssl s_time: %w: %s", err, said)
	}
	f.wall = time.Since(start)
	end, err := o.group.cpu()
	if err != nil {
		return f, err
	}
	f.cpu = end - begin
	f.n, err = connections(said)
	return f, err
}
