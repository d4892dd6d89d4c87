/* Go's crypto/tls. */
#pragma once

/* go_traffic is called with each TCP socket that a thread sends to or receives from while its process has a window open. */
static __always_inline void go_traffic(__u64 socket, __u64 cookie)
{
}
