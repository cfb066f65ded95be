package machine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBaseCgroups(t *testing.T) {
	for _, tt := range []struct {
		name, membership, mountinfo string
		top                         bool
		want                        []string
	}{
		{
			name:       "unified",
			membership: "0::/user.slice/user-1000.slice/session-2.scope\n",
			mountinfo:  "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
			want:       []string{"/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope"},
		},
		{
			name:       "the top of it",
			membership: "0::/user.slice/user-0.slice/session-2.scope\n",
			mountinfo:  "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
			top:        true,
			want:       []string{"/sys/fs/cgroup"},
		},
		{
			name:       "hybrid, two controllers in one hierarchy",
			membership: "3:cpu,cpuacct:/a\n2:memory:/b/c\n1:name=systemd:/\n0::/\n",
			mountinfo: "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
				"33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpuacct,cpu\n" +
				"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" +
				"40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n" +
				"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
			want: []string{"/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup/memory/b/c", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"},
		},
		{
			name:       "a container sees its part of the hierarchy",
			membership: "0::/docker/12ab/inner\n",
			mountinfo:  "30 23 0:26 /docker/12ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			want:       []string{"/sys/fs/cgroup/inner"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := baseCgroups([]byte(tt.membership), []byte(tt.mountinfo), tt.top)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
	_, err := baseCgroups([]byte("0::/\n"), nil, false)
	require.ErrorContains(t, err, "mount one")
}

func TestMissingPackagesAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var missing *MissingError
	require.ErrorAs(t, Detect(), &missing)
	require.Equal(t, []string{"mount", "util-linux"}, missing.Packages)
	require.ErrorContains(t, missing, "apt-get install mount util-linux")
}
