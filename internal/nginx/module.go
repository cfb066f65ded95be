package nginx

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed fleet.lua
var script string

// scriptSum is part of the configuration: another script takes effect with a reload.
var scriptSum = func() string { sum := sha256.Sum256([]byte(script)); return hex.EncodeToString(sum[:4]) }()

const (
	scriptName = "feed/fleet.lua"
	// ownTemplate is why endpoints are part of the configuration of an operator's template.
	ownTemplate = "the router runs with --template, which has the endpoints in it"
	// noModule is what to do about a missing module.
	noModule = "on Debian, apt-get install libnginx-mod-http-lua, and restart the router"
)

// module is nginx's Lua module. nil: there is none.
type module struct{ paths []string }

func (m *module) files() []string {
	if m == nil {
		return nil
	}
	return m.paths
}

var modulesPathPattern = regexp.MustCompile(`--modules-path=([^ '\n]+)`)

// findModule looks for the module of the given nginx, and tries it: why is the reason if there is none.
func findModule(ctx context.Context, binary, dir string) (m *module, why string) {
	out, err := exec.CommandContext(ctx, binary, "-V").CombinedOutput()
	if err != nil {
		return nil, fmt.Sprintf("%s -V: %s", binary, err)
	}
	modules := "/usr/lib/nginx/modules"
	if found := modulesPathPattern.FindSubmatch(out); found != nil {
		modules = string(found[1])
	}
	m = &module{}
	for _, name := range []string{"ndk_http_module.so", "ngx_http_lua_module.so"} {
		path := filepath.Join(modules, name)
		if _, err := os.Stat(path); err != nil || !isPlainPath(path) {
			return nil, fmt.Sprintf("nginx has no Lua module, %s is missing: %s", path, noModule)
		}
		m.paths = append(m.paths, path)
	}
	if err := m.try(ctx, binary, dir); err != nil {
		return nil, fmt.Sprintf("nginx's Lua module does not work, %s: %s", err, noModule)
	}
	return m, ""
}

// try has nginx load the module and the libraries that the script needs.
func (m *module) try(ctx context.Context, binary, dir string) error {
	path := filepath.Join(dir, "feed/probe.conf")
	var b strings.Builder
	for _, file := range m.paths {
		fmt.Fprintf(&b, "load_module \"%s\";\n", file)
	}
	fmt.Fprintf(&b, "pid \"%s/feed/probe.pid\";\nevents {}\nhttp {\n    lua_shared_dict fleet 64k;\n    init_by_lua_block { require \"ngx.balancer\" require \"ffi\" }\n}\n", dir)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binary, "-t", "-q", "-e", "stderr", "-p", dir+"/", "-c", path)
	cmd.Env = nginxEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.New(firstComplaint(string(out), path))
	}
	return errors.Join(os.Remove(path), os.RemoveAll(filepath.Join(dir, "feed/probe.pid")))
}
