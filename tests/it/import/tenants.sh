#!/bin/sh
ei_server_dir=~/wso2ei-6.4.0/repository/deployment/server/
ei_tenants_dir=~/wso2ei-6.4.0/repository/tenants
pem_file=~/.ssh/carbon-440-test.pem

#delete the lock on exit
trap 'rm -rf /var/lock/depsync-lock' EXIT

mkdir /tmp/carbon-rsync-logs/

#keep a lock to stop parallel runs
if mkdir /var/lock/depsync-lock; then
  echo "Locking succeeded" >&2
else
  echo "Lock failed - exit" >&2
  exit 1
fi

#get the nodes-list.txt
pushd `dirname $0` > /dev/null
SCRIPTPATH=`pwd`
popd > /dev/null
echo $SCRIPTPATH

for x in wso2@mi-1 wso2@mi-2
do
echo ================================================== >> /tmp/carbon-rsync-logs/logs.txt;
echo Syncing $x;
rsync --delete -arve "ssh -i  $pem_file -o StrictHostKeyChecking=no" $ei_server_dir $x:/opt/ei/repository/deployment/server >> /tmp/carbon-rsync-logs/logs.txt
rsync --delete -arve "ssh -i  $pem_file -o StrictHostKeyChecking=no" $ei_tenants_dir $x:/opt/ei/repository/ >> /tmp/carbon-rsync-logs/logs.txt
echo ================================================== >> /tmp/carbon-rsync-logs/logs.txt;
done
