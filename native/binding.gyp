{
  "targets": [
    {
      "target_name": "vswitchd",
      "sources": [
        "src/binding.c",
        "src/arguments.c",
        "src/confine.c",
        "src/execute.c",
        "src/landlock.c",
        "src/files.c",
        "src/netlink.c",
        "src/netns.c",
        "src/packet.c",
        "src/poll.c",
        "src/shared.c",
        "src/sockets.c",
        "src/stream.c",
        "src/thread.c",
        "src/tun.c",
        "src/watch.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-Wall", "-Wextra", "-Werror", "-O2"],
      "cflags_c": ["-std=c11"]
    }
  ]
}
