//! Rule sets as values, applied as one nftables or iptables transaction.
