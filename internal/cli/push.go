package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/archive"
	"github.com/fleet-starter/fleet/internal/version"
)

// errNoImage means that docker does not have the image.
var errNoImage = errors.New("no such image")

// pushOptions are the flags of push.
type pushOptions struct {
	to, registry, tunnel string
}

func (a *app) pushCommand() *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use: "push IMAGE|FILE|-", Short: "Push a container image to the cluster's registry",
		Long: `Pushes an image of this computer's docker to the registry that every machine has at localhost:5000. It may also be a
file written by docker save or by an OCI tool, the directory of an OCI layout, or - for such a file on standard input.
Layers that the registry has are not sent again.

With --tunnel the registry of that machine is reached through ssh.

Writes the image's digest to standard output: localhost:5000/NAME@DIGEST in a manifest is this image and no other.`,
		Example: `  fleetctl push shop:1.4 --tunnel core@10.0.0.1
  fleetctl push localhost:5000/shop:1.4
  fleetctl push bin/images/example-app.tar --to example-app:2
  docker save shop:1.4 | fleetctl push - --registry 10.0.0.1:5000`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("push needs one image or file, got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.push(cmd.Context(), args[0], o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.to, "to", "", "name and tag in the registry (default the image's own, without its registry)")
	flags.StringVar(&o.registry, "registry", "localhost:5000", "address of the registry, with --tunnel as that machine sees it")
	flags.StringVar(&o.tunnel, "tunnel", "", "[user@]host[:port] of a machine to reach the registry through, with ssh")
	return cmd
}

// pushed is what push writes with --output json or yaml.
type pushed struct {
	Image  string `json:"image"`
	Digest string `json:"digest"`
	// BlobsSent and BlobsPresent count layers and configurations.
	BlobsSent    int64 `json:"blobsSent"`
	BlobsPresent int64 `json:"blobsPresent"`
	BytesSent    int64 `json:"bytesSent"`
}

func (a *app) push(ctx context.Context, arg string, o pushOptions) error {
	registry, err := name.NewRegistry(o.registry)
	if err != nil {
		return usage("--registry %q: use host:port", o.registry)
	}
	dir, err := os.MkdirTemp("", "fleetctl-push")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image, err := a.readImage(ctx, arg, dir)
	if err != nil {
		return err
	}
	target, err := pushTarget(registry, image.Name, o.to)
	if err != nil {
		return err
	}
	wire := &counted{next: http.DefaultTransport.(*http.Transport).Clone()}
	defer wire.next.CloseIdleConnections()
	if o.tunnel == "" {
		o.tunnel = a.tunnel // FLEETCTL_TUNNEL: the flag of this command hides the global one
	}
	if o.tunnel != "" {
		t, err := a.openTunnel(ctx, o.tunnel, o.registry, dir)
		if err != nil {
			return err
		}
		defer t.close()
		wire.next.Proxy, wire.next.DialContext = nil, t.dial
	}
	digest, err := a.send(ctx, target, image, wire)
	if err != nil {
		return pushError(o, err)
	}
	return a.showPushed(pushed{Image: target.String(), Digest: digest.String(),
		BlobsSent: wire.sent.Load(), BlobsPresent: wire.present.Load(), BytesSent: wire.bytes.Load()})
}

func (a *app) showPushed(p pushed) error {
	if p.BlobsSent+p.BlobsPresent == 0 { // then the manifest was there, and with it all that it names
		a.note("pushed %s: the registry has it already", p.Image)
	} else {
		a.note("pushed %s: %d blobs sent (%s), %d were there", p.Image, p.BlobsSent, sizeOf(p.BytesSent), p.BlobsPresent)
	}
	switch a.output {
	case "json":
		return a.printJSON(p)
	case "yaml":
		return a.printYAML(p)
	}
	a.say("%s", p.Digest)
	return nil
}

// readImage returns the image in a file or a directory, on standard input or in docker.
func (a *app) readImage(ctx context.Context, arg, dir string) (archive.Image, error) {
	scratch := filepath.Join(dir, "layout")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return archive.Image{}, err
	}
	saved := filepath.Join(dir, "image.tar")
	if arg == "-" {
		if err := copyTo(saved, a.In); err != nil {
			return archive.Image{}, err
		}
		image, err := archive.Read(saved, scratch)
		if err != nil {
			return image, errors.New(strings.Replace(err.Error(), saved, "standard input", 1))
		}
		return image, nil
	}
	if _, err := os.Stat(arg); err == nil {
		return archive.Read(arg, scratch)
	}
	if strings.HasPrefix(arg, ".") || strings.HasPrefix(arg, "/") || strings.HasSuffix(arg, ".tar") {
		return archive.Image{}, fmt.Errorf("file %s does not exist%w", arg, silent{errNoImage})
	}
	if _, err := name.NewTag(arg); err != nil {
		return archive.Image{}, usage("%q is neither a file nor the name of an image, such as shop:1.4", arg)
	}
	if err := dockerSave(ctx, arg, saved); err != nil {
		return archive.Image{}, err
	}
	image, err := archive.Read(saved, scratch)
	image.Name = arg
	return image, err
}

func copyTo(file string, from io.Reader) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// dockerSave has docker write the image. Docker's own words say what is wrong.
func dockerSave(ctx context.Context, image, file string) error {
	cmd := exec.CommandContext(ctx, "docker", "save", "--output", file, image)
	out, err := cmd.CombinedOutput()
	words := strings.TrimSpace(string(out))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not a file, and docker is not installed: give a file written by docker save", image)
	case strings.Contains(words, "No such image") || strings.Contains(words, "reference does not exist"):
		return fmt.Errorf("docker has no image %s: build it, or give a file%w", image, silent{errNoImage})
	}
	return fmt.Errorf("docker save %s: %w: %s", image, err, words)
}

// pushTarget is the image's name in the registry: as given, or the image's own without the registry that it names.
func pushTarget(registry name.Registry, own, to string) (name.Tag, error) {
	wanted := to
	if wanted == "" {
		if own == "" {
			return name.Tag{}, usage("the archive gives its image no name, or several: use --to NAME:TAG")
		}
		tag, err := name.NewTag(own, name.WithDefaultRegistry(""))
		if err != nil {
			return name.Tag{}, usage("%q does not name an image with a tag: use --to NAME:TAG", own)
		}
		wanted = strings.TrimPrefix(tag.RepositoryStr(), "library/") + ":" + tag.TagStr()
	}
	wanted = strings.TrimPrefix(wanted, registry.RegistryStr()+"/")
	target, err := name.NewTag(registry.RegistryStr() + "/" + wanted)
	if err != nil {
		return name.Tag{}, usage("--to %q: use NAME:TAG, such as shop:1.4", to)
	}
	return target, nil
}

// send pushes the image and reports progress on a terminal.
func (a *app) send(ctx context.Context, target name.Tag, image archive.Image, wire http.RoundTripper) (v1.Hash, error) {
	updates := make(chan v1.Update, 100)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		p := newProgress(a)
		for u := range updates {
			if p.width > 0 && u.Total > 0 && u.Error == nil {
				p.say(target.String(), fmt.Sprintf("%d%% of %s", 100*u.Complete/u.Total, sizeOf(u.Total)))
			}
		}
	}()
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(wire), remote.WithProgress(updates),
		remote.WithUserAgent("fleetctl/" + version.String())}
	a.note("pushing %s", target)
	var digest v1.Hash
	var err error
	if image.Index != nil {
		if err = remote.WriteIndex(target, image.Index, options...); err == nil {
			digest, err = image.Index.Digest()
		}
	} else if err = remote.Write(target, image.Image, options...); err == nil {
		digest, err = image.Image.Digest()
	}
	<-shown // the library closes updates
	return digest, err
}

// pushError says what the registry said, without the request's address, and what to do where it cannot be reached.
func pushError(o pushOptions, err error) error {
	var answer *transport.Error
	var request *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &answer) && len(answer.Errors) > 0 && answer.Errors[0].Message != "":
		return fmt.Errorf("registry %s: %s", o.registry, answer.Errors[0].Message)
	case errors.As(err, &answer):
		return fmt.Errorf("registry %s answers %d %s", o.registry, answer.StatusCode, http.StatusText(answer.StatusCode))
	case errors.As(err, &request) && o.tunnel != "":
		return fmt.Errorf("registry %s does not answer on %s: does it run there? See systemctl status registry", o.registry, o.tunnel)
	case errors.As(err, &request):
		return fmt.Errorf("registry %s cannot be reached: %w: use --tunnel with a machine of the cluster, or --registry", o.registry, request.Err)
	}
	return fmt.Errorf("registry %s: %w", o.registry, err)
}

// counted counts what goes over the wire.
type counted struct {
	next                 *http.Transport
	sent, present, bytes atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	blob := strings.Contains(r.URL.Path, "/blobs/")
	if r.Body != nil && blob {
		r = r.Clone(r.Context())
		r.Body = countedBody{r.Body, &c.bytes}
	}
	answer, err := c.next.RoundTrip(r)
	if err == nil && blob {
		switch {
		case r.Method == http.MethodHead && answer.StatusCode == http.StatusOK:
			c.present.Add(1)
		case r.Method == http.MethodPut && answer.StatusCode == http.StatusCreated:
			c.sent.Add(1)
		}
	}
	return answer, err
}

type countedBody struct {
	io.ReadCloser
	bytes *atomic.Int64
}

func (b countedBody) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	b.bytes.Add(int64(n))
	return n, err
}

// sizeOf writes a number of bytes for people.
func sizeOf(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d kB", (n+999)/1000)
}

// tunnel is an ssh process that forwards a socket here to an address as a machine sees it.
type tunnel struct {
	socket string
	ssh    *exec.Cmd
	ended  chan error
}

// openTunnel starts ssh and waits until it forwards. The socket is in a directory that only this user can enter.
func (a *app) openTunnel(ctx context.Context, host, address, dir string) (*tunnel, error) {
	args := []string{"-N", "-o", "ExitOnForwardFailure=yes"}
	where, port, err := net.SplitHostPort(host)
	if err == nil {
		args = append(args, "-p", port)
	} else {
		where = host
	}
	if where == "" || strings.HasPrefix(where, "-") {
		return nil, usage("--tunnel %q: use [user@]host[:port]", host)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, usage("--registry %q: use host:port", address)
	}
	t := &tunnel{socket: filepath.Join(dir, "ssh"), ended: make(chan error, 1)}
	t.ssh = exec.CommandContext(ctx, "ssh", append(args, "-L", t.socket+":"+address, where)...)
	var words bytes.Buffer
	t.ssh.Stderr = &words
	if err := t.ssh.Start(); err != nil {
		return nil, fmt.Errorf("--tunnel: %w", err)
	}
	go func() { t.ended <- t.ssh.Wait() }() // ends with ssh, which close ends
	if err := t.wait(ctx); err != nil {
		if said := strings.TrimSpace(words.String()); said != "" {
			return nil, fmt.Errorf("--tunnel %s: %s", host, said) // ssh's own words
		}
		return nil, fmt.Errorf("--tunnel %s: ssh: %w", host, err)
	}
	return t, nil
}

// wait returns when the socket is there, or when ssh has ended.
func (t *tunnel) wait(ctx context.Context) error {
	for {
		if _, err := os.Stat(t.socket); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			<-t.ended
			return ctx.Err()
		case err := <-t.ended:
			if err == nil {
				err = errors.New("it ended")
			}
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (t *tunnel) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", t.socket)
}

func (t *tunnel) close() {
	_ = t.ssh.Process.Kill()
	<-t.ended
}
