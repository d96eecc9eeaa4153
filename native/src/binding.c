/* The exports of the addon. But for what is mapped (shared.c) it keeps no state of its own, so each thread may load it. */
#include "native.h"

#define EXPORT(name, function) {name, NULL, function, NULL, NULL, NULL, napi_enumerable, NULL}

NAPI_MODULE_INIT() {
  const napi_property_descriptor exported[] = {
      EXPORT("openTun", openTun),
      EXPORT("setPersist", setPersist),
      EXPORT("deviceNetns", deviceNetns),
      EXPORT("openPacket", openPacket),
      EXPORT("interfaceIndex", interfaceIndex),
      EXPORT("interfaceName", interfaceName),
      EXPORT("setUp", setUp),
      EXPORT("setMtu", setMtu),
      EXPORT("setQueue", setQueue),
      EXPORT("readFrames", readFrames),
      EXPORT("receivePackets", receivePackets),
      EXPORT("writeFrames", writeFrames),
      EXPORT("sendPackets", sendPackets),
      EXPORT("epollCreate", epollCreate),
      EXPORT("epollAdd", epollAdd),
      EXPORT("epollWriting", epollWriting),
      EXPORT("epollRemove", epollRemove),
      EXPORT("wait", wait_),
      EXPORT("eventCreate", eventCreate),
      EXPORT("eventSignal", eventSignal),
      EXPORT("eventClear", eventClear),
      EXPORT("watch", watch),
      EXPORT("socketPair", socketPair),
      EXPORT("receiveBytes", receiveBytes),
      EXPORT("sendBytes", sendBytes),
      EXPORT("copyBytes", copyBytes),
      EXPORT("listenUnix", listenUnix),
      EXPORT("connectUnix", connectUnix),
      EXPORT("bindDatagrams", bindDatagrams),
      EXPORT("acceptUnix", acceptUnix),
      EXPORT("receiveDatagrams", receiveDatagrams),
      EXPORT("sendDatagrams", sendDatagrams),
      EXPORT("mapMemory", mapMemory),
      EXPORT("unmapMemory", unmapMemory),
      EXPORT("patchedPages", patchedPages),
      EXPORT("adoptEvent", adoptEvent),
      EXPORT("createMemory", createMemory),
      EXPORT("receiveMessage", receiveMessage),
      EXPORT("sendMessage", sendMessage),
      EXPORT("netlinkOpen", netlinkOpen),
      EXPORT("netlinkSend", netlinkSend),
      EXPORT("netlinkReceive", netlinkReceive),
      EXPORT("sendUnixDatagram", sendUnixDatagram),
      EXPORT("lockFile", lockFile),
      EXPORT("ownFiles", ownFiles),
      EXPORT("fetchFile", fetchFile),
      EXPORT("close", close_),
  };
  napi_define_properties(env, exports, sizeof exported / sizeof *exported, exported);
  return exports;
}
